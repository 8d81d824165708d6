"""A user as the kernel's permission checks see one, so that the checks can be made on behalf of the component's user."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import FrozenSet, NamedTuple, Optional

from edge_agent.errors import ConfigError

# Whose the components are: of the classic nucleus, and of nucleus lite's own instructions.
_COMPONENT_USERS = ("ggc_user", "gg_component")

READ, WRITE, SEARCH = 4, 2, 1


class Account(NamedTuple):
    """User id and all group ids."""

    name: str
    uid: int
    gids: FrozenSet[int]

    def may(self, path: Path, need: int) -> bool:
        """Whether mode bits allow READ, WRITE and SEARCH (or'ed) there and the way there. Access lists are not read.

        Raises:
            OSError: there is nothing, or this process may not look.
        """
        real = path.resolve()
        way = all(self._allowed(parent.stat(), SEARCH) for parent in real.parents)
        return way and self._allowed(real.stat(), need)

    def _allowed(self, status: os.stat_result, need: int) -> bool:
        if self.uid == 0:
            return True
        if status.st_uid == self.uid:
            shift = 6
        elif status.st_gid in self.gids:
            shift = 3
        else:
            shift = 0
        return (status.st_mode >> shift) & need == need


def account(name: Optional[str]) -> Account:
    """The user of that name; without one the component's user where root asks and there is one, else this process's.

    Raises:
        ConfigError: no such user.
    """
    if name is None and os.geteuid() == 0:
        known = {entry.pw_name for entry in pwd.getpwall()}
        name = next((user for user in _COMPONENT_USERS if user in known), None)
    if name is None:
        gids = frozenset({os.getegid(), *os.getgroups()})
        return Account(_user_name(os.geteuid()), os.geteuid(), gids)
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise ConfigError(f"user {name}", "is not on this device", "Name the components' user by --user.") from error
    return Account(name, entry.pw_uid, frozenset(os.getgrouplist(name, entry.pw_gid)))


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
