"""Everything that uses apprise (https://appriseit.com, 2.2 read 2026-11); loaded only when needed."""

import logging
import warnings
from typing import Final

import apprise

from orchestrator.hooks._message import Message, Sent

# It logs messages and addresses; everything we need is in the result.
_LOG: Final = logging.getLogger("apprise")
_LOG.propagate = False
_LOG.addHandler(logging.NullHandler())
_LOG.setLevel(logging.WARNING)  # independent of our own level: a result contains only what was logged
logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # it logs every path, which may contain tokens

_ASSET: Final = apprise.AppriseAsset(
    app_id="orchestrator",
    app_desc="orchestrator",
    http_redirects=False,
    secure_logging=True,
    interpret_escapes=False,
    interpret_emojis=False,
    async_mode=False,
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # some services still use deprecated parts of Python
    apprise.Apprise.instantiate("json://localhost", asset=_ASSET)


def problem(url: str) -> str | None:
    """Say why `url` is not the address of a service, or return None; the address is never quoted."""
    if not url.isprintable():
        return "the address holds a control character"
    try:
        made = apprise.Apprise.instantiate(url, asset=_ASSET, suppress_exceptions=True)
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything
        return f"apprise cannot read the address ({type(error).__name__})"
    return "apprise knows no service for this address" if made is None else None


def send(url: str, message: Message, seconds: float) -> Sent:
    """Send a message to one service, shortened to what it accepts; blocks for at most `seconds`."""
    service = apprise.Apprise.instantiate(url, asset=_ASSET, suppress_exceptions=True)
    if service is None:
        return Sent(taken=False, late=False, said="apprise knows no service for this address", service="")
    service.overflow_mode = apprise.OverflowMode.TRUNCATE
    box = apprise.Apprise(asset=_ASSET)
    box.add(service)
    result = box.notify(
        body=message.text,
        title=message.title,
        notify_type=message.tone,
        body_format=apprise.NotifyFormat.TEXT,
        timeout=seconds,
    )
    said = "; ".join(entry.message for entry in result.logs())
    late = result.status == apprise.AppriseResultStatus.TIMEOUT
    return Sent(taken=bool(result), late=late, said=said, service=str(service.service_name))
