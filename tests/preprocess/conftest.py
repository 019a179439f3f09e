"""Movies for the tests of this folder."""

from movie_files import bioformats_jar, ch5, noise, real_movies  # noqa: F401, fixtures
