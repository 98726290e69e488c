"""One transfer: what it took."""

from dataclasses import dataclass, field


@dataclass
class Sample:
    """Time, CPU time of both sides, and the peak of memory of either."""

    receiver: object
    senders: list
    cpu_before: list = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    peak_receiver: int = 0
    peak_sender: int = 0

    @classmethod
    def begin(cls, receiver, senders):
        """Looks at the processes before the transfer."""
        sample = cls(receiver, senders)
        for process in [receiver, *senders]:
            process.forget_peak()
            sample.cpu_before.append(process.usage()[0])
        return sample

    def end(self, seconds):
        """Looks at them again, right after it."""
        self.seconds = seconds
        usages = [process.usage() for process in [self.receiver, *self.senders]]
        self.cpu = sum(cpu for cpu, _ in usages) - sum(self.cpu_before)
        self.peak_receiver = usages[0][1]
        self.peak_sender = max(peak for _, peak in usages[1:])
