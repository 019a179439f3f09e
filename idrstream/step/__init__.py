"""One step of a stream over a sample of images, from what was kept of the step before.

`IdrStream.step` and ``idrstream step`` make a `StepLook`; see ``docs/step-by-step.md``.
"""

from idrstream.step.look import StepLook
from idrstream.step.show import STEPS

__all__ = ["STEPS", "StepLook"]
