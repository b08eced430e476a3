"""What the machine asks of a running daemon: signs of life for a watchdog, and a GPU that is left before sleep."""

from parakeetd.supervision.attendance import Supervised, supervise
from parakeetd.supervision.sleep import SleepWatch
from parakeetd.supervision.watchdog import feed, moves

__all__ = ["SleepWatch", "Supervised", "feed", "moves", "supervise"]
