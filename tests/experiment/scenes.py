"""Made-up logs for the tests of this folder."""

import numpy as np

from deepscan.experiment import Entry, Feedback

LABELS = ("real", "fake")


def entry(**fields):
    """An answer; what is not given is a matter of course."""
    request = fields.get("request_id", "r-0")
    usual = {
        "time_s": 1000.0,
        "request_id": request,
        "sha256": request.encode().hex().rjust(64, "0"),
        "variant": "now",
        "shadow": False,
        "label": "real",
        "probability": 0.25,
        "scores": {"one": 0.25},
        "abstentions": {},
        "elapsed_ms": 40.0,
        "cached": False,
        "key_hash": None,
    }
    return Entry(**(usual | fields))


def shadowed(count=200, right=(0.8, 0.9), seed=0):
    """Answers of ``now`` and of the shadow ``next`` to the same requests, and the truth about all of them."""
    rng = np.random.default_rng(seed)
    entries, feedback = [], []
    for number in range(count):
        truth = int(rng.integers(2))
        request, content = f"r-{number}", f"{number:064x}"
        for variant, chance in zip(("now", "next"), right, strict=True):
            said = truth if rng.random() < chance else 1 - truth
            entries.append(
                entry(
                    time_s=1000.0 + number,
                    request_id=request,
                    sha256=content,
                    variant=variant,
                    shadow=variant == "next",
                    label=LABELS[said],
                    probability=float(rng.uniform(0.5, 1) if said else rng.uniform(0, 0.5)),
                    elapsed_ms=float(rng.uniform(30, 50)) * (2 if variant == "next" else 1),
                )
            )
        feedback.append(Feedback(label=truth, time_s=5000.0 + number, request_id=request, source="review"))
    return entries, feedback


def divided(callers=400, right=(0.9, 0.6), seed=0):
    """Answers of ``now`` and ``next``, each to two contents of each of its own callers, and the truths."""
    rng = np.random.default_rng(seed)
    entries, feedback = [], []
    for number in range(2 * callers):
        caller, truth = number // 2, int(rng.integers(2))
        arm = caller % 2
        said = truth if rng.random() < right[arm] else 1 - truth
        content = f"{number:064x}"
        entries.append(
            entry(
                time_s=1000.0 + number // 4,
                request_id=f"r-{number}",
                sha256=content,
                variant=("now", "next")[arm],
                label=LABELS[said],
                probability=0.9 if said else 0.1,
                key_hash=f"{caller:016x}",
            )
        )
        feedback.append(Feedback(label=truth, time_s=9000.0 + number, sha256=content))
    return entries, feedback
