"""Skills (being written)."""


class KitchenSkills:
    def __init__(self, cooking: str) -> None:
        self.names = ()
