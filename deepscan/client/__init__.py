"""Verdicts of a running service, from a program: ``Client``, and ``AsyncClient`` for asyncio."""

from deepscan.client.clients import AsyncClient, Client
from deepscan.client.flows import Job, Options, Problem

__all__ = ["AsyncClient", "Client", "Job", "Options", "Problem"]
