"""What a stream would do, before it starts: work, bytes, disk, time, and whether it could."""

from idrstream.forecast.plan import Amount, Check, StreamPlan, TimeEstimate

__all__ = ["Amount", "Check", "StreamPlan", "TimeEstimate"]
