"""TSIG keys in every form that nsupdate -k accepts: the file pair of dnssec-keygen, and the `key` clause of
tsig-keygen.
"""

from __future__ import annotations

import base64
import binascii
import re

import dns.exception
import dns.name
import dns.tsig

from snf_network.errors import BadConfig
from snf_network.host import kernel

NUMBERS = {
    "157": "hmac-md5",
    "161": "hmac-sha1",
    "162": "hmac-sha224",
    "163": "hmac-sha256",
    "164": "hmac-sha384",
    "165": "hmac-sha512",
}
"""Algorithm numbers of dnssec-keygen (dst/dst.h of BIND 9)."""
ALGORITHMS = {
    "hmac-md5": dns.tsig.HMAC_MD5,
    "hmac-sha1": dns.tsig.HMAC_SHA1,
    "hmac-sha224": dns.tsig.HMAC_SHA224,
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
}
CLAUSE = re.compile(r'^\s*key\s+("[^"]+"|\S+)\s*\{(.*?)\}\s*;', re.DOTALL | re.MULTILINE)
STATEMENT = re.compile(r'\b(algorithm|secret)\s+("[^"]*"|[^;\s]+)\s*;')
COMMENT = re.compile(r'("[^"]*")|/\*.*?\*/|(?://|#).*?$', re.DOTALL | re.MULTILINE)
"""A comment, or a string, which may have // in it: one secret of a hundred does."""
HINT = "a key {} clause of tsig-keygen, or K<name>.+<algorithm>+<id>.key or .private of dnssec-keygen"


def read_key(path: str) -> dns.tsig.Key:
    """The key in a file. Raises BadConfig, whose message never contains the secret."""
    if not path:
        raise BadConfig("no key is configured", "KEYFILE, or key in dns.yaml; or AUTHENTICATION_METHOD=plain")
    text = kernel.read_file(path)
    if text is None:
        raise BadConfig(f"{path} cannot be read", "KEYFILE, or key in dns.yaml: a regular file")
    name, algorithm, secret = (
        _private(path, text)
        if text.startswith("Private-key-format:")
        else _clause(text) or _public(path, text)
    )
    try:
        if not secret:
            raise KeyError("secret")
        return dns.tsig.Key(
            dns.name.from_text(name), base64.b64decode(secret, validate=True), ALGORITHMS[algorithm]
        )  # type: ignore[no-untyped-call]
    except (KeyError, binascii.Error, dns.exception.DNSException) as error:
        raise BadConfig(f"{path}: this is no TSIG key: {algorithm or 'no algorithm'}", HINT) from error


def _clause(text: str) -> tuple[str, str, str] | None:
    found = CLAUSE.search(COMMENT.sub(lambda match: match[1] or "", text))
    if not found:
        return None
    values = {key: value.strip('"') for key, value in STATEMENT.findall(found[2])}
    algorithm = values.get("algorithm", "").lower().rstrip(".").removesuffix(".sig-alg.reg.int")
    return found[1].strip('"'), algorithm, values.get("secret", "")


def _private(path: str, text: str) -> tuple[str, str, str]:
    """Parse a .private file. The key's name is only in the file's name."""
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    name = path.rpartition("/")[2].removeprefix("K").partition("+")[0]
    return (
        name,
        NUMBERS.get(values.get("Algorithm", "").partition(" ")[0], ""),
        values.get("Key", "").replace(" ", ""),
    )


def _public(path: str, text: str) -> tuple[str, str, str]:
    """Parse `name. IN KEY flags 3 algorithm secret`; the secret may contain blanks."""
    for words in (line.split() for line in text.splitlines() if not line.lstrip().startswith(";")):
        if "KEY" in words[1:5]:
            rest = words[words.index("KEY", 1) + 1 :]
            return words[0], NUMBERS.get(rest[2], "") if len(rest) > 3 else "", "".join(rest[3:])
    raise BadConfig(f"{path}: there is no key in it", HINT)
