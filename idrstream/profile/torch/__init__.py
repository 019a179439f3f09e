"""The engine that computes DeepProfiler's features in PyTorch."""
