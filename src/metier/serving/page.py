"""Pages of the servers on this machine: rendered with a nonce, sent with headers that let nothing else in."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

_environment = Environment(
    loader=PackageLoader("metier.serving"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, nonce: str, **values: object) -> str:
    """A page as HTML; whatever a user wrote is escaped. Only styles and scripts with ``nonce`` are followed."""
    return _environment.get_template(template).render(nonce=nonce, **values)


def page_headers(nonce: str) -> dict[str, str]:
    """Headers of a page: nothing is loaded from elsewhere, framed, guessed at or kept."""
    return {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Content-Security-Policy": "default-src 'none'; img-src data:; connect-src 'self'; form-action 'self'; "
        f"base-uri 'none'; frame-ancestors 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'",
    }
