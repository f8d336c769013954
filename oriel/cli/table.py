"""Owns the list of all commands: where each is, and the line that `oriel --help` has for it.

Strings only, so that neither help nor a typo imports a command. Must not know what they do.
"""

from __future__ import annotations

HERE = "oriel.cli.commands."

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Look": {
        "ps": (HERE + "ps:ps", "Processes of an app, with their states."),
        "logs": (HERE + "logs:logs", "What an app and the platform said; --tail follows."),
        "logs:check": (HERE + "logs_policy:check", "Check that a log is as it was written."),
        "errors": (HERE + "errors:errors", "What went wrong with an app, summed up."),
        "releases": (HERE + "releases:releases", "What was changed, by whom, when."),
        "releases:info": (HERE + "releases:info", "One release, with its config."),
        "releases:diff": (HERE + "releases:diff", "What changed from one release to another."),
        "releases:verify": (HERE + "releases:verify", "Prove that no release was changed."),
        "builds": (HERE + "builds:builds", "Builds of an app."),
        "builds:info": (HERE + "builds:info", "One build, with its transcript."),
        "drains": (HERE + "drains:drains", "Where an app's log is sent on to."),
        "drains:info": (HERE + "drains:info", "One drain: its state, how far behind it is."),
        "open": (HERE + "apps:open_app", "Open the app in a browser."),
    },
    "Change": {
        "rollback": (HERE + "releases:rollback", "Go back to an earlier release."),
        "config": (HERE + "config:config", "Config vars of an app."),
        "config:get": (HERE + "config:get", "The value of a config var."),
        "config:add": (HERE + "config:add", "Set config vars (or config:set)."),
        "config:remove": (HERE + "config:remove", "Remove config vars (or config:unset)."),
        "config:import": (HERE + "config:import_vars", "Set config vars from standard input."),
        "drains:add": (HERE + "drains:add", "Send an app's log to syslog or HTTP."),
        "drains:remove": (HERE + "drains:remove", "Send it there no longer."),
        "drains:test": (HERE + "drains:test", "Send one line to a drain, show the answer."),
        "drains:replay": (HERE + "drains:replay", "Send a part of the log again."),
        "ps:scale": (HERE + "ps:scale", "Run more or fewer processes of a type."),
        "ps:restart": (HERE + "ps:restart", "Restart processes."),
        "ps:stop": (HERE + "ps:stop", "Stop processes."),
        "logs:policy": (HERE + "logs_policy:policy", "What output that nobody takes costs."),
        "logs:retention": (HERE + "logs_policy:retention", "How much of a log is kept."),
        "maintenance": (HERE + "maintenance:maintenance", "Whether maintenance mode is on."),
        "maintenance:on": (HERE + "maintenance:on", "Show visitors a maintenance page."),
        "maintenance:off": (HERE + "maintenance:off", "Serve the app again."),
    },
    "Apps": {
        "apps": (HERE + "apps:apps", "Your apps."),
        "apps:create": (HERE + "apps:create", "Create an app."),
        "apps:info": (HERE + "apps:info", "One app."),
        "apps:rename": (HERE + "apps:rename", "Give an app another name."),
        "apps:destroy": (HERE + "apps:destroy", "Destroy an app for good."),
        "access": (HERE + "access:access", "Who may work on an app."),
        "access:add": (HERE + "access:add", "Let somebody work on an app."),
        "access:remove": (HERE + "access:remove", "Let somebody no longer work on an app."),
        "git:remote": (HERE + "git:remote", "Make git push oriel deploy an app."),
    },
    "Account": {
        "login": (HERE + "login:login", "Log in."),
        "logout": (HERE + "login:logout", "Log out."),
        "whoami": (HERE + "login:whoami", "Who you are logged in as."),
        "users": (HERE + "users:users", "Everybody with an account."),
        "users:add": (HERE + "users:add", "Invite somebody."),
        "users:remove": (HERE + "users:remove", "Remove somebody's account."),
        "users:reset": (HERE + "users:reset", "Let somebody choose a new password."),
    },
    "Server": {
        "up": ("oriel.house.commands:up", "Start the platform on this machine."),
        "down": ("oriel.house.commands:down", "Stop the platform."),
        "doctor": ("oriel.house.commands:doctor", "Check this machine."),
    },
    "Log router": {
        "logplex": ("oriel.house.alone:logplex", "Run only the log router on this machine."),
        "logplex:channels": ("oriel.house.alone:channels", "Its log channels."),
        "logplex:create": ("oriel.house.alone:create", "Make a log channel."),
        "logplex:destroy": ("oriel.house.alone:destroy", "Remove a log channel for good."),
        "logplex:tokens": ("oriel.house.alone:tokens", "Who may write into a channel."),
        "logplex:tokens-add": ("oriel.house.alone:add_token", "Let a source write."),
        "logplex:tokens-remove": ("oriel.house.alone:remove_token", "Take a token back."),
        "logplex:logs": ("oriel.house.alone:logs", "What was said in a channel."),
        "logplex:status": ("oriel.house.alone:status", "Where it listens, and what came."),
    },
    "Help": {
        "help": (HERE + "help:help_", "Help on a command."),
        "version": (HERE + "help:version", "The version of this command."),
    },
}

HIDDEN: dict[str, tuple[str, str]] = {
    "git:credentials": (HERE + "git:credentials", "Tell git the token."),
}
"""What git runs, not people."""

ALIASES = {
    "apps:delete": "apps:destroy",
    "apps:list": "apps",
    "apps:open": "open",
    "auth:login": "login",
    "auth:logout": "logout",
    "auth:whoami": "whoami",
    "config:set": "config:add",
    "config:unset": "config:remove",
    "create": "apps:create",
    "destroy": "apps:destroy",
    "info": "apps:info",
    "kill": "ps:stop",
    "list": "apps",
    "ps:kill": "ps:stop",
    "releases:rollback": "rollback",
    "rename": "apps:rename",
    "restart": "ps:restart",
    "scale": "ps:scale",
    "sharing": "access",
    "sharing:add": "access:add",
    "sharing:remove": "access:remove",
    "stop": "ps:stop",
}
"""Names that Heroku's command line has, or once had, for the same."""


def find(name: str) -> tuple[str, str] | None:
    """Target and help of a command, by any of its names."""
    name = ALIASES.get(name, name)
    for section in (*COMMANDS.values(), HIDDEN):
        if name in section:
            return section[name]
    return None


def names() -> list[str]:
    """Every name but the hidden ones, aliases too."""
    return [name for section in COMMANDS.values() for name in section] + list(ALIASES)
