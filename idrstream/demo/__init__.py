"""``idrstream demo``: stream a simulated screen and score the result against its truth."""

from idrstream.demo.nuclei import Demo, DemoScore, config_for, run_demo, score_demo

__all__ = ["Demo", "DemoScore", "config_for", "run_demo", "score_demo"]
