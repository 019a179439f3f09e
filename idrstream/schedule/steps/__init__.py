"""What a batch goes through, image by image and then as a whole."""
