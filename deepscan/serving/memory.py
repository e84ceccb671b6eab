"""What a service remembers between requests: the verdicts that it has given."""

import dataclasses
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Protocol

from deepscan import config
from deepscan.cache import Cache, CacheFacts
from deepscan.media.source import facts_together
from deepscan.serving.backend import Answer, Around, Backend, Progress, Question
from deepscan.verdict import Verdict, to_dict


class Memory(Protocol):
    """Verdicts by fingerprint, shared by all that answer requests."""

    async def recall(self, key: str) -> Verdict | None:
        """Return the verdict that was kept under a fingerprint, if it still is."""

    async def keep(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; others that were not asked for the longest may go for it."""

    async def facts(self) -> CacheFacts:
        """Tell what is held and was asked for."""


class LocalMemory:
    """A Memory in this process."""

    def __init__(self, max_bytes: int) -> None:
        """Keep verdicts of so many bytes of JSON together; 0 = none."""
        self._verdicts: Cache[str, Verdict] = Cache(max_bytes)

    async def recall(self, key: str) -> Verdict | None:
        """See ``Memory``."""
        return self._verdicts.get(key)

    async def keep(self, key: str, verdict: Verdict) -> None:
        """See ``Memory``."""
        self._verdicts.put(key, verdict, len(json.dumps(to_dict(verdict))))

    async def facts(self) -> CacheFacts:
        """See ``Memory``."""
        return self._verdicts.facts()


class Remembering(Around):
    """A Backend that judges nothing twice: what was asked before is answered from memory.

    The same question is the same content, asked with the same settings of the same bundles. A file
    that a detector failed on is judged anew, for a failure says nothing about the file.
    """

    def __init__(self, backend: Backend, memory: Memory, bundles: str) -> None:
        """Put a memory before a backend; ``bundles`` tells one set of bundles and policies from another."""
        super().__init__(backend)
        self._memory = memory
        self._bundles = bundles

    async def steps(self, question: Question) -> AsyncIterator[Progress | Answer]:
        """See ``Backend``."""
        start_s = time.perf_counter()
        key = fingerprint(question, self._bundles)
        known = await self._memory.recall(key)
        if known:
            elapsed_ms = (time.perf_counter() - start_s) * 1000
            facts = facts_together([media.facts for media in question.media])
            yield Answer(verdict=dataclasses.replace(known, media=facts, elapsed_ms=elapsed_ms), cached=True)
            return
        async for step in self._backend.steps(question):
            if isinstance(step, Answer) and not step.verdict.failed:
                await self._memory.keep(key, step.verdict)
            yield step


def fingerprint(question: Question, bundles: str) -> str:
    """Return a digest of all that the answer to a question depends on, but not of the files' names."""
    asked = {
        "content": [media.facts.sha256 for media in question.media],
        "modality": question.modality,
        "settings": config.to_dict(question.settings),
        "variant": question.variant,
        "bundles": bundles,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
