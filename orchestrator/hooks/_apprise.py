"""All that knows apprise (https://appriseit.com, 2.2 read 2026-11); loaded only when it is needed."""

import logging
import warnings
from typing import Final

import apprise

from orchestrator.hooks._message import Message, Sent

# It logs what it sends, and addresses with it; what matters comes back with the result.
_LOG: Final = logging.getLogger("apprise")
_LOG.propagate = False
_LOG.addHandler(logging.NullHandler())
_LOG.setLevel(logging.WARNING)  # whatever the command logs: a result tells no more than was logged
logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # it logs every path, and tokens stand there

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
    warnings.simplefilter("ignore")  # some of its services still use what Python is about to lose
    apprise.Apprise.instantiate("json://localhost", asset=_ASSET)


def problem(url: str) -> str | None:
    """Say why `url` is no address of a service, None where it is one; never quotes it."""
    if not url.isprintable():
        return "the address holds a control character"
    try:
        made = apprise.Apprise.instantiate(url, asset=_ASSET, suppress_exceptions=True)
    except Exception as error:  # noqa: BLE001 - a plug-in's own: whatever it is, the address did not do
        return f"apprise cannot read the address ({type(error).__name__})"
    return "apprise knows no service for this address" if made is None else None


def send(url: str, message: Message, seconds: float) -> Sent:
    """Send one message to one service, cut to what the service takes; blocks for `seconds` at most."""
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
