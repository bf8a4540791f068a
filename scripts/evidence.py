#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The demonstration as a report.

    evidence.py [--build DIR]

Runs scripts/demo.py and scripts/demo-xen.py and turns what they recorded (DIR/demo.json,
DIR/demo-xen.json) into DIR/evidence/report.md, for people, and report.json, for programs.
The report walks the requirements of the proof of concept one by one, on QEMU and then on
Xen; for each it gives the commands that were run, what was expected and what was captured,
word for word.

A requirement holds only if at least one check belongs to it and all of its checks
held.  The exit status is 0 only if both demonstrations passed and every requirement
holds on both.
"""
import argparse
import json
import os
import platform
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# (title, what it means, predicate over a check's name)
REQUIREMENTS = (
    ("The guest finds the device in lspci",
     "An unmodified guest kernel enumerates a PCI device 1234:7667 of class 0302, and the "
     "driver binds to it.",
     lambda name: name in ("device in lspci", "driver is ready")),
    ("A path from the VM to the host",
     "Commands travel from a guest program through /dev/vgpu0 and mapped rings to the daemon, "
     "and their results come back. The daemon's own counters are the witness.",
     lambda name: name in ("driver is ready", "kernels counted")),
    ("A real kernel through the mediation layer",
     "PTX compiled from CUDA C++ is loaded and launched by the guest program; every element of "
     "the result is compared in the guest with the guest's own arithmetic.",
     lambda name: name.startswith(("vector add", "saxpy", "matmul", "reduce", "printf"))),
    ("Two guests at once, and no crash",
     "Both guests ran each step at the same time, on data from different seeds. Afterwards "
     "neither guest kernel had complained and the daemon held nothing of theirs.",
     lambda name: name.startswith(("vector add", "saxpy", "matmul", "reduce", "printf"))
     or name in ("guest's kernel log", "nothing left behind")),
)

BARRIERS = (
    ("No GPU in this run",
     "The CPU executor runs the same PTX that a GPU would; it shows that the path is right, and "
     "says nothing about a GPU's speed.",
     "Run the same conformance files with `executor=cuda` on a machine with an NVIDIA GPU "
     "(`make gpu-check`)."),
    ("QEMU without KVM in this run",
     "Guests ran under QEMU's own instruction translation (TCG). Times above are not those of a "
     "production host.",
     "Repeat on a KVM host, where doorbells reach the daemon through the kernel's ioeventfd."),
    ("Xen under emulation in this run",
     "The hypervisor, its Dom0 and xl are the real ones; the machine below them is QEMU's.",
     "Repeat on hardware with Xen; docs/operations/xen.md says what XCP-ng lacks."),
)

MAX_OUTPUT_LINES = 30


def output_of(*command):
    """First line of a command's output, or why there is none."""
    try:
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60,
                              check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({error})"
    text = (done.stdout or done.stderr).strip()
    return text.splitlines()[0] if done.returncode == 0 and text else "unknown"


def versions(demo):
    changed = output_of("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "source": output_of("git", "describe", "--always", "--abbrev=12")
        + ("" if changed == "unknown" else ", with uncommitted changes"),
        "host kernel": platform.release(),
        "guest kernel": ", ".join(sorted({guest["kernel"] for guest in demo["guests"]})),
        "QEMU": output_of(demo["qemu"], "--version"),
        "compiler": output_of("gcc", "--version"),
        "processors": str(os.cpu_count()),
    }


def requirements(demo):
    """Each requirement with its checks and whether it holds."""
    result = []
    for title, meaning, belongs in REQUIREMENTS:
        checks = [check for check in demo["checks"] if belongs(check["name"])]
        holds = bool(checks) and all(check["ok"] for check in checks)
        result.append({"title": title, "meaning": meaning, "holds": holds, "checks": checks})
    return result


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def captured(check):
    """A check's output, its last lines, as an indented block."""
    lines = (check["output"] or check["seen"]).rstrip().splitlines()
    cut = lines[-MAX_OUTPUT_LINES:]
    if len(cut) < len(lines):
        cut.insert(0, f"[{len(lines) - len(cut)} lines before]")
    return [f"    guest {check['guest']}# {check['command']}", *("    " + line for line in cut), ""]


def requirement_text(number, item, place):
    lines = [f"## {number}. {place}: {item['title']}: "
             f"{'holds' if item['holds'] else 'DOES NOT HOLD'}", "",
             item["meaning"], "",
             "| guest | round | command | expected | captured | began, s | took, s | |",
             "|---|---|---|---|---|---|---|---|"]
    for check in item["checks"]:
        lines.append("| " + " | ".join((
            check["guest"], str(check["round"] or ""), f"`{cell(check['command'])}`",
            cell(check["expected"]), cell(check["seen"]), str(check["at_s"]), str(check["seconds"]),
            "ok" if check["ok"] else "FAILED")) + " |")
    lines += ["", "Output, first of each kind:", ""]
    shown = set()
    for check in item["checks"]:
        if check["name"] not in shown:
            shown.add(check["name"])
            lines += captured(check)
    return lines


def account_text(place, demo):
    lines = ["", f"## {place}: the daemon's accounting at the end", "", "    vgpuctl stats --json"]
    return lines + ["    " + line for line in json.dumps(demo["stats"], indent=1).splitlines()]


def xen_text(report):
    """The same on Xen, and the daemon's own log as a second witness of both domains."""
    demo = report["xen"]
    lines = [f"# Xen: {'passed' if demo['ok'] else 'FAILED'}", "",
             f"Two HVM domains from two `xl create`s with `vgpu-dm`. Run started {demo['started']}, "
             f"took {demo['seconds']} s.", "", "| what | version |", "|---|---|"]
    lines += [f"| {name} | {cell(demo['versions'].get(name, 'unknown'))} |"
              for name in ("Xen", "Dom0's kernel")]
    lines += [f"| kernel of domain {g['name']} | {g['kernel']} |" for g in demo["guests"]] + [""]
    if demo["problems"]:
        lines += ["Problems:", "", *(f"- {cell(problem)}" for problem in demo["problems"]), ""]
    for number, item in enumerate(report["xen_requirements"], start=1):
        lines += requirement_text(number, item, "Xen")
    lines += ["## Xen: the daemon's log", ""]
    lines += ["    " + line for line in demo["versions"].get("vgpud's log", "").splitlines()]
    return lines + account_text("Xen", demo)


def report_text(report):
    demo = report["demo"]
    lines = ["# Evidence: two guests share one virtual GPU", "",
             f"Result: **{'passed' if report['ok'] else 'FAILED'}**. "
             f"Run started {demo['started']}, took {demo['seconds']} s. "
             f"Executor: **{demo['executor']}**. Made by `make evidence`; every line below was "
             "captured in that run.", "", "| what | version |", "|---|---|"]
    lines += [f"| {name} | {cell(value)} |" for name, value in report["versions"].items()]
    lines += ["", "| guest | kernel | boot to usable agent, s |", "|---|---|---|"]
    lines += [f"| {g['name']} | {g['kernel']} | {g['boot_s']} |" for g in demo["guests"]]
    lines.append("")
    if demo["problems"]:
        lines += ["Problems:", "", *(f"- {cell(problem)}" for problem in demo["problems"]), ""]
    for number, item in enumerate(report["requirements"], start=1):
        lines += requirement_text(number, item, "QEMU")
    lines += account_text("QEMU", demo) + [""] + xen_text(report)
    lines += ["", "# Barriers and next steps", "",
              "| barrier | what it means here | next step |", "|---|---|---|"]
    lines += [f"| {cell(a)} | {cell(b)} | {cell(c)} |" for a, b, c in BARRIERS]
    return "\n".join(lines) + "\n"


def write(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def demonstration(name, build):
    """Run one of the demonstrations; what it recorded."""
    source = os.path.join(TOP, build, f"{name}.json")
    if os.path.exists(source):
        os.unlink(source)   # never report an older run
    status = subprocess.run([os.path.join(TOP, "scripts", f"{name}.py"), "--build", build],
                            check=False).returncode
    try:
        with open(source, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"evidence.py: {name} left no record: {error}")
    record["ok"] = record["ok"] and status == 0
    return record


def main():
    parser = argparse.ArgumentParser(description="the demonstration as a report")
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    build = os.path.join(TOP, args.build)
    demo, xen = (demonstration(name, args.build) for name in ("demo", "demo-xen"))
    items, xen_items = requirements(demo), requirements(xen)
    ok = demo["ok"] and xen["ok"] and all(item["holds"] for item in items + xen_items)
    report = {"ok": ok, "versions": versions(demo), "requirements": items,
              "barriers": [dict(zip(("barrier", "meaning", "next"), b)) for b in BARRIERS],
              "demo": demo, "xen": xen, "xen_requirements": xen_items}
    folder = os.path.join(build, "evidence")
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, "report.json"), json.dumps(report, indent=1) + "\n")
    write(os.path.join(folder, "report.md"), report_text(report))
    for place, listed in (("QEMU", items), ("Xen", xen_items)):
        for item in listed:
            print(f"{'holds  ' if item['holds'] else 'DOES NOT HOLD'} {place}: {item['title']}")
    print(f"report: {os.path.join(folder, 'report.md')}")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
