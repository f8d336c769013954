"""Owns the list of all commands: where each is, and the line that `oriel --help` has for it.

Strings only, so that neither help nor a typo imports a command. Must not know what they do.
"""

from __future__ import annotations

ALONE = "oriel.house.alone."
HERE = "oriel.cli.commands."

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Look": {
        "ps": (HERE + "ps:ps", "Processes of an app, with their states."),
        "ps:history": (HERE + "ps_history:history", "What became of processes, and why."),
        "ps:wait": (HERE + "ps_wait:wait", "Wait until all run the newest release."),
        "why": (HERE + "why:why", "Why a process is as it is, and what to type."),
        "logs": (HERE + "logs:logs", "What an app and the platform said; --tail follows."),
        "logs:check": (HERE + "logs_policy:check", "Check that a log is as it was written."),
        "releases": (HERE + "releases:releases", "What was changed, by whom, when."),
        "releases:info": (HERE + "releases:info", "One release, with its config."),
        "releases:diff": (HERE + "releases:diff", "What changed from one release to another."),
        "releases:verify": (HERE + "releases:verify", "Prove that no release was changed."),
        "builds": (HERE + "builds:builds", "Builds of an app."),
        "builds:info": (HERE + "builds:info", "One build, with its transcript."),
        "drains": (HERE + "drains:drains", "Where an app's log is sent on to."),
        "drains:info": (HERE + "drains:info", "One drain: its state, how far behind it is."),
        "domains": (HERE + "domains:domains", "Host names of an app, and their DNS records."),
        "domains:info": (HERE + "domains:info", "One domain."),
        "certs": (HERE + "certs:certs", "Certificates of an app."),
        "certs:info": (HERE + "certs:info", "One certificate."),
        "certs:auto": (HERE + "certs:auto", "How far automatic certificates are."),
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
        "ps:scale": (HERE + "ps_scale:scale", "Run more or fewer processes of a type."),
        "ps:type": (HERE + "ps_scale:type_", "Give processes another size; show the sizes."),
        "ps:restart": (HERE + "ps_scale:restart", "Restart processes."),
        "ps:stop": (HERE + "ps_scale:stop", "Stop processes."),
        "domains:add": (HERE + "domains:add", "Have a host name lead to an app."),
        "domains:remove": (HERE + "domains:remove", "Have it lead there no longer."),
        "domains:clear": (HERE + "domains:clear", "Remove all domains of an app."),
        "domains:update": (HERE + "domains:update", "Choose a domain's certificate."),
        "domains:wait": (HERE + "domains:wait", "Wait for the certificates of domains."),
        "certs:add": (HERE + "certs:add", "Serve an app with a certificate of yours."),
        "certs:update": (HERE + "certs:update", "Put another in the place of one."),
        "certs:remove": (HERE + "certs:remove", "Serve with it no longer."),
        "certs:auto:enable": (HERE + "certs:enable", "Have certificates come by themselves."),
        "certs:auto:disable": (HERE + "certs:disable", "Have them no longer."),
        "certs:auto:refresh": (HERE + "certs:refresh", "Try those again that failed."),
        "run": (HERE + "run:run", "Run a command in a dyno of its own."),
        "ps:exec": (HERE + "run:ps_exec", "Run a command inside a running dyno."),
        "features": (HERE + "features:features", "What an app can switch on."),
        "features:enable": (HERE + "features:enable", "Switch a feature on."),
        "features:disable": (HERE + "features:disable", "Switch a feature off."),
        "features:info": (HERE + "features:info", "One feature."),
        "checks": (HERE + "checks:checks", "When a web process counts as up."),
        "checks:set": (HERE + "checks:set_", "Ask a web process for a page, or give it longer."),
        "checks:unset": (HERE + "checks:unset", "Its port alone, within 60 seconds."),
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
        "ca": (HERE + "run:ca", "The certificate that attached runs are trusted by."),
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
        "logplex": (ALONE + "router:logplex", "Run only the log router on this machine."),
        "logplex:status": (ALONE + "router:status", "Where it listens, and what came."),
        "logplex:channels": (ALONE + "channels:channels", "Its log channels."),
        "logplex:create": (ALONE + "channels:create", "Make a log channel."),
        "logplex:destroy": (ALONE + "channels:destroy", "Remove a log channel for good."),
        "logplex:keep": (ALONE + "channels:keep", "How much of a channel is kept."),
        "logplex:check": (ALONE + "channels:check", "Check a channel on disk."),
        "logplex:logs": (ALONE + "logs:logs", "What was said in a channel."),
        "logplex:tokens": (ALONE + "tokens:tokens", "Who may write into a channel."),
        "logplex:tokens-add": (ALONE + "tokens:add_token", "Let a source write."),
        "logplex:tokens-remove": (ALONE + "tokens:remove_token", "Take a token back."),
        "logplex:credentials": (
            ALONE + "tokens:credentials",
            "Who may write by the frames' tokens.",
        ),
        "logplex:credentials-add": (ALONE + "tokens:add_credential", "Let a sender write so."),
        "logplex:credentials-remove": (
            ALONE + "tokens:remove_credential",
            "Take a credential back.",
        ),
        "logplex:drains": (ALONE + "drains:drains", "Where a channel is sent on to."),
        "logplex:drains-add": (ALONE + "drains:add", "Send a channel to a URL."),
        "logplex:drains-info": (ALONE + "drains:info", "How a drain is."),
        "logplex:drains-remove": (ALONE + "drains:remove", "Send to a drain no longer."),
        "logplex:drains-test": (ALONE + "drains:test", "Send one line to a drain now."),
        "logplex:drains-replay": (ALONE + "drains:replay", "Send again since then."),
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
    "certs:auto:info": "certs:auto",
    "config:set": "config:add",
    "config:unset": "config:remove",
    "create": "apps:create",
    "destroy": "apps:destroy",
    "info": "apps:info",
    "kill": "ps:stop",
    "list": "apps",
    "ps:kill": "ps:stop",
    "ps:resize": "ps:type",
    "releases:rollback": "rollback",
    "rename": "apps:rename",
    "resize": "ps:type",
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
