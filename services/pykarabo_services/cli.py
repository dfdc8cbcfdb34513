"""Commands that services add to the command line."""

import click

commands: list[click.Command] = []
