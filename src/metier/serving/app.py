"""A specialist over HTTP: ``POST /predict``, ``GET /card``, ``GET /health``, the page at ``/``, ``/openapi.json``."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from metier.errors import MetierError, nearest
from metier.inference.abstaining import check_level
from metier.inference.specialist import Specialist
from metier.serving.card import card
from metier.serving.gate import Gate, fault
from metier.serving.gathering import BusyError, Gatherer
from metier.serving.page import page_headers, render
from metier.serving.wire import Ask, Limits, RefusedError, Reply, as_json, checked, example

_OFF: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(
    specialist: Specialist,
    gatherer: Gatherer,
    *,
    limits: Limits,
    hosts: frozenset[str] | None,
    abstain_below: float | None = None,
) -> FastAPI:
    """The application; it closes ``gatherer`` when it ends.

    Args:
        hosts: names that requests may call it by, against names that other sites point here; None for any.
        abstain_below: the threshold of requests that name none; None for the recipe's demand.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(gatherer.close, limits.seconds)

    about = card(specialist, limits, abstain_below)
    app = FastAPI(
        title=f"{about['model']}: {about['task']['title']}", version=about["metier"], lifespan=lifespan,
        docs_url=None, redoc_url=None,  # these pages load scripts from elsewhere
        telemetry=_OFF,
    )  # fmt: skip
    app.add_middleware(Gate, limits=limits, hosts=hosts)
    _add_faults(app)

    @app.post("/predict")
    async def predict(ask: Ask) -> Reply:
        """Answer texts, in order."""
        bundle = specialist.bundle
        inputs = checked(bundle.task, ask, limits)
        note = None if ask.sets is None else check_level(bundle, ask.sets, ask.sets_by)
        future = gatherer.ask(inputs, ask.demand(abstain_below))
        answers = await asyncio.wait_for(asyncio.wrap_future(future), limits.seconds)
        said = {key: about[key] for key in ("model", "engine", "engine_reason", "notice")}
        return Reply(**said, note=note, answers=as_json(answers))

    @app.get("/card")
    async def about_it() -> dict[str, Any]:
        """What it is: task, labels, fields, base, licences, intended use, when it abstains, limits."""
        return about

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether it answers, and how much: texts that wait, that the model is at, answered ones, their batches."""
        counts = {name: getattr(gatherer, name) for name in ("waiting", "running", "answered", "batches")}
        return {"status": "ok", "model": about["model"], **counts}

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        asked = json.dumps(example(specialist.bundle.task), ensure_ascii=False)
        html = render("specialist.html.jinja", nonce, about=about, address=str(request.base_url), asked=asked)
        return HTMLResponse(html, headers=page_headers(nonce))

    return app


def _add_faults(app: FastAPI) -> None:
    """Every fault is JSON in the words of a :class:`MetierError`; its place only where that is one of the request."""

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return fault(error.status, error.what, where=error.where, fix=error.fix)

    @app.exception_handler(MetierError)
    async def user_fault(_: Request, error: MetierError) -> JSONResponse:
        return fault(422, error.what, fix=error.fix)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error)

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> JSONResponse:
        fix = f"ask again in {error.seconds} s"
        return fault(503, "too many texts wait already", fix=fix, retry_after=error.seconds)

    @app.exception_handler(TimeoutError)
    async def late(_: Request, __: TimeoutError) -> JSONResponse:
        return fault(503, "the answer took too long", fix="send fewer texts at once, or ask again", retry_after=5)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        what = {404: "there is no such page", 405: "this page is not asked in that way"}
        fix = "POST /predict, GET /card, GET /health, GET /openapi.json, or / in a browser"
        if error.status_code == 400:
            return fault(400, "the request cannot be read as JSON")
        return fault(error.status_code, what.get(error.status_code, error.detail), fix=fix)

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        reply = fault(500, "the server failed at this request", fix="its terminal says more")
        reply.headers["Connection"] = "close"  # it is, when the fault is logged
        return reply


def _invalid(error: RequestValidationError) -> JSONResponse:
    """The first thing that is wrong with a request's shape."""
    first = error.errors()[0]
    place = [part for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":
        said = str(first.get("ctx", {}).get("error", "")).lower()
        return fault(400, f"the request is not JSON: {said}", where=f"character {place[0]}" if place else None)
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".") or None
    if where is None:
        return fault(422, "a request is a JSON object", fix='such as {"texts": ["…"]}; GET /card gives an example')
    if first["type"] == "extra_forbidden":
        return fault(422, f"there is no field '{place[-1]}'", fix=nearest(str(place[-1]), Ask.model_fields))
    return fault(422, str(first["msg"]).replace("Input should", "this should"), where=where)
