#!/usr/bin/env python3
"""Writes THIRD-PARTY.md: the crates that a binary of cnnc holds, under which licence each is taken, and the texts.

Run it in the project's folder after a change of dependencies. It reads `cargo metadata` and the crates' own files.
"""

import json
import pathlib
import subprocess

TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin", "aarch64-apple-darwin"]

# Of a choice, the first of these: the text of Apache-2.0 is in LICENSE-APACHE.
ORDER = ["Apache-2.0", "Apache-2.0 WITH LLVM-exception", "MIT", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0"]

# What the files of licences are called in crates.
FILES = {
    "Apache-2.0 WITH LLVM-exception": ["LICENSE"],
    "MIT": ["LICENSE-MIT", "LICENSE-MIT.txt", "LICENSE-MIT.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"],
    "BSD-3-Clause": ["LICENSE", "LICENSE-BSD"],
    "ISC": ["LICENSE"],
    "Zlib": ["LICENSE-ZLIB", "LICENSE-ZLIB.md", "LICENSE", "LICENSE.md", "LICENSE.txt"],
    "Unicode-3.0": ["LICENSE-UNICODE"],
}

HEAD = """\
# Third-party notices

A binary of cnnc holds code of the crates below. Where a crate leaves a choice, it is taken under the licence named
here. The text of Apache-2.0 is in [LICENSE-APACHE](LICENSE-APACHE); the other texts follow the table. Data that the
binary embeds is named in [NOTICE](NOTICE). `.ci/notices.py` writes this file.

| crate | version | licence |
| --- | --- | --- |
"""

# Between the crates of every binary and those that only some hold.
WITH_CARDS = """
A binary that was built with the feature `gpu`, which no build has unless it is asked for, also holds these:

| crate | version | licence |
| --- | --- | --- |
"""


def metadata(*features):
    platforms = [argument for target in TARGETS for argument in ("--filter-platform", target)]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", *features, *platforms]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def linked(graph):
    """The packages that the binary is linked with: neither build nor test dependencies."""
    packages = {package["id"]: package for package in graph["packages"]}
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    root = graph["resolve"]["root"]
    seen, waiting = set(), [root]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for dep in nodes[name]["deps"]:
            is_macro = any("proc-macro" in target["kind"] for target in packages[dep["pkg"]]["targets"])
            if not is_macro and any(kind["kind"] is None for kind in dep["dep_kinds"]):
                waiting.append(dep["pkg"])
    found = [packages[name] for name in seen - {root}]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def taken(package):
    """The licences of an expression: one of each choice."""
    chosen = []
    for part in package["license"].replace("/", " OR ").split(" AND "):
        offered = [choice.strip(" ()") for choice in part.split(" OR ")]
        chosen.append(next(choice for choice in ORDER if choice in offered))
    return chosen


def text(package, licence, others):
    """The crate's own text. That of the exception names no holder, so another crate's will do."""
    for candidate in [package, *(others if "exception" in licence else [])]:
        folder = pathlib.Path(candidate["manifest_path"]).parent
        for name in FILES[licence]:
            if licence in taken(candidate) and (folder / name).is_file():
                return (folder / name).read_text(encoding="utf-8").strip()
    if licence == "MIT":
        # The crate has none: the words are the same everywhere, and the manifest names the holders.
        own = pathlib.Path("LICENSE-MIT").read_text(encoding="utf-8").strip()
        holders = ", ".join(package["authors"]) or f"the authors of {package['name']}"
        lines = [f"Copyright (c) {holders}" if line.startswith("Copyright") else line for line in own.split("\n")]
        return "\n".join(lines)
    raise SystemExit(f"{package['name']}: no text of {licence}")


def row(package):
    return f"| {package['name']} | {package['version']} | {', '.join(taken(package))} |\n"


def main():
    usual = linked(metadata())
    names = {package["id"] for package in usual}
    more = [package for package in linked(metadata("--features", "gpu")) if package["id"] not in names]
    packages = usual + more
    texts = {}
    table = "".join(map(row, usual)) + WITH_CARDS + "".join(map(row, more))
    for package in packages:
        for licence in taken(package):
            if licence != "Apache-2.0":
                texts.setdefault(text(package, licence, packages), (licence, []))[1].append(package["name"])
    parts = [
        f"\n## {licence}: {', '.join(names)}\n\n```text\n{body}\n```\n"
        for body, (licence, names) in sorted(texts.items(), key=lambda item: (item[1][0], item[1][1]))
    ]
    pathlib.Path("THIRD-PARTY.md").write_text(HEAD + table + "".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
