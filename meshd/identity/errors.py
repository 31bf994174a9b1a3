"""Why an identity is not accepted."""


class IdentityError(Exception):
    """A certificate does not prove who its holder is. `code` is stable, short and made for logs and counters; the text
    is for people and may change."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    def __repr__(self) -> str:
        return f"<IdentityError {self.code}: {self.text}>"
