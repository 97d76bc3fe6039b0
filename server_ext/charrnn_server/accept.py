"""Which of several forms of an answer a client would rather have (RFC 9110, 12.5.1). It knows the header `Accept`."""

from __future__ import annotations

from collections.abc import Iterator


def preferred(header: str, *offered: str) -> str:
    """The media type that the header asks for most; of equals, and where it asks for none, the first offered."""
    wishes = dict(_wishes(header)) or {"*/*": 1.0}

    def weight(offer: str) -> float:
        kind = offer.partition("/")[0]
        return next((wishes[name] for name in (offer, f"{kind}/*", "*/*") if name in wishes), 0.0)

    return max(offered, key=weight)


def _wishes(header: str) -> Iterator[tuple[str, float]]:
    for wish in header.split(","):
        name, *parameters = (part.strip().lower() for part in wish.split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        try:
            yield name, float(weights[0]) if weights else 1.0
        except ValueError:
            yield name, 0.0
