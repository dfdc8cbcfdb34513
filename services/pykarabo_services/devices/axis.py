"""The mechanics of a simulated linear axis: motion profile, play of the screw, limit switches.

Positions are in mm, times in s of a monotonic clock. Everything is computed for the moment that
is asked for; nothing runs in between.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """Motion along a line with constant acceleration, constant velocity, constant deceleration.

    Attributes:
        start, target: positions in mm.
        velocity: the highest allowed, mm/s, positive.
        acceleration: mm/s², positive.
        begin_s: when the motion begins.
    """

    start: float
    target: float
    velocity: float
    acceleration: float
    begin_s: float

    @property
    def _peak(self) -> float:
        """The highest velocity that is reached: short ways end before full speed."""
        way = abs(self.target - self.start)
        return min(self.velocity, math.sqrt(way * self.acceleration))

    @property
    def duration_s(self) -> float:
        """How long the motion takes."""
        way, peak = abs(self.target - self.start), self._peak
        return 0.0 if not way else way / peak + peak / self.acceleration

    def at(self, now_s: float) -> tuple[float, float]:
        """Return position (mm) and velocity (mm/s) at a moment."""
        elapsed = now_s - self.begin_s
        if elapsed <= 0:
            return self.start, 0.0
        if elapsed >= self.duration_s:
            return self.target, 0.0
        direction = math.copysign(1.0, self.target - self.start)
        ramp_s = self._peak / self.acceleration
        left_s = self.duration_s - elapsed
        if elapsed < ramp_s:
            way, speed = self.acceleration * elapsed**2 / 2, self.acceleration * elapsed
        elif left_s < ramp_s:
            speed = self.acceleration * left_s
            way = abs(self.target - self.start) - self.acceleration * left_s**2 / 2
        else:
            way = self._peak * (elapsed - ramp_s / 2)
            speed = self._peak
        return self.start + direction * way, direction * speed


@dataclass(frozen=True, slots=True)
class AxisSettings:
    """How the axis is built.

    Attributes:
        velocity, acceleration: mm/s and mm/s².
        backlash: play of the screw in mm: after a turn the load waits so long for the screw.
        low_switch, high_switch: where the limit switches stop the screw, mm.
    """

    velocity: float = 5.0
    acceleration: float = 20.0
    backlash: float = 0.0
    low_switch: float = -110.0
    high_switch: float = 110.0


@dataclass(frozen=True, slots=True)
class AxisReading:
    """The axis at one moment.

    Attributes:
        load: where the load is, mm.
        screw: where the screw, and so the encoder on it, is, mm.
        velocity: of the screw, mm/s.
        hit: -1 or 1 when a limit switch has stopped the axis, else 0.
    """

    load: float
    screw: float
    velocity: float
    moving: bool
    low_switch: bool
    high_switch: bool
    hit: int = 0


class SimulatedAxis:
    """A linear axis that starts at rest.

    The screw pushes the load in positive direction; in negative direction the load follows when
    the play is used up. `move` therefore approaches every target from below, so that screw and
    load agree there.
    """

    def __init__(self, settings: AxisSettings, position: float = 0.0) -> None:
        self.settings = settings
        self._screw = position
        self._load = position
        self._path: list[Profile] = []
        self._hit = 0

    def move(self, target: float, now_s: float) -> None:
        """Move the load to `target`; a motion under way is given up at its present place."""
        self.at(now_s)
        self._hit = 0
        turning = target - self.settings.backlash
        if target < self._screw and self.settings.backlash:
            first = self._profile(self._screw, turning, now_s)
            second = self._profile(turning, target, now_s + first.duration_s)
            self._path = [first, second]
        else:
            self._path = [self._profile(self._screw, target, now_s)]

    def _profile(self, start: float, target: float, begin_s: float) -> Profile:
        return Profile(start, target, self.settings.velocity, self.settings.acceleration, begin_s)

    def stop(self, now_s: float) -> None:
        """Decelerate to rest."""
        reading = self.at(now_s)
        self._path = []
        if reading.velocity:
            acceleration = self.settings.acceleration
            speed = abs(reading.velocity)
            way = math.copysign(speed**2 / (2 * acceleration), reading.velocity)
            # The second half of the profile that would reach this speed from rest.
            start, target = reading.screw - way, reading.screw + way
            begin_s = now_s - speed / acceleration
            self._path = [Profile(start, target, speed, acceleration, begin_s)]

    def set_position(self, position: float) -> None:
        """Declare where the resting axis is, as after homing."""
        self._path = []
        self._screw = self._load = position

    def at(self, now_s: float) -> AxisReading:
        """Return where everything is at a moment; moments must not go back."""
        velocity = 0.0
        while self._path:
            profile = self._path[0]
            position, velocity = profile.at(now_s)
            self._drive(position)
            if self._hit or now_s < profile.begin_s + profile.duration_s:
                break
            self._path.pop(0)
            velocity = 0.0
        settings = self.settings
        return AxisReading(
            load=self._load,
            screw=self._screw,
            velocity=velocity if self._path else 0.0,
            moving=bool(self._path),
            low_switch=self._screw <= settings.low_switch,
            high_switch=self._screw >= settings.high_switch,
            hit=self._hit,
        )

    def _drive(self, screw: float) -> None:
        settings = self.settings
        if screw > settings.high_switch and screw > self._screw:
            screw, self._hit = settings.high_switch, 1
        elif screw < settings.low_switch and screw < self._screw:
            screw, self._hit = settings.low_switch, -1
        if self._hit:
            self._path = []
        self._screw = screw
        self._load = min(max(self._load, screw), screw + settings.backlash)
