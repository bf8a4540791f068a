#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Check and measure vgpu on this machine's NVIDIA GPU.

    gpu-check.py [--stage NAME[,NAME...]] [--vm] [--device GPU] [--hmm allow]
                 [--programs DIR] [--build DIR] [--results DIR] [--quick] [--again]

Needs an NVIDIA driver, python3, and vgpu's programs in DIR (BUILD/rel/bin).  Stages, each below ten
minutes: probe, conformance, faults, quota, bench, and vm, which is run with --vm or when named.

A stage's results are kept in BUILD/gpu-check/NAME.json.  A stage that passed before, with the same
programs on the same GPU and driver, is not run again unless --again is given.
When at least one stage has results they are written as one report, RESULTS/GPU-DATE.json and .md.
What did not run stands there as "not run".

On a driver library that is no GPU's (VGPU_LIBCUDA names the one made for tests) the report says so,
its name begins with "fake", and it is written to BUILD/gpu-check, whatever RESULTS is.

Exit status: 0 if every stage asked for passed, 1 if a check failed or a stage could not
run, 2 for wrong usage.
"""
import argparse
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAGES = ("probe", "conformance", "faults", "quota", "bench", "vm")
LIMIT_S = 600
FAKE = re.compile(r"^fake CUDA device")
PROBE = re.compile(r'VGPU_PROBE status=(PASS|FAIL|WARN) check=(\w+) detail="([^"]*)" '
                   r'remediation="([^"]*)"')


class Trouble(Exception):
    """A stage can't run; the message says what to do."""


def say(text):
    print(f"gpu-check: {text}", flush=True)


# ---- What is needed ----

def missing_libraries(path):
    """What the loader can't find for a program, in words."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    missing = sorted({line.split()[0] for line in lines if "=> not found" in line})
    floor = sorted({match for line in lines
                    for match in re.findall(r"version `(GLIBC_[0-9.]+)' not found", line)})
    words = []
    if missing:
        words.append("these libraries are not installed: " + ", ".join(missing))
    if floor:
        words.append(f"this system's glibc is older than {floor[-1]}")
    return "; ".join(words)


# What vgpud is made with: a header of each library, and the package that has it.
HEADERS = (("seccomp.h", "libseccomp-dev"), ("zstd.h", "libzstd-dev"), ("lz4.h", "liblz4-dev"),
           ("ini.h", "libinih-dev"), ("json-c/json.h", "libjson-c-dev"), ("stdio.h", "libc6-dev"))


def missing_packages():
    """The packages without which the programs can't be built here."""
    if not shutil.which("gcc"):
        return ["gcc"]
    return [package for header, package in HEADERS
            if subprocess.run(["gcc", "-E", "-o", os.devnull, "-xc", "-"],
                              input=f"#include <{header}>\n", text=True, check=False,
                              stderr=subprocess.DEVNULL).returncode != 0]


def build_programs(args):
    missing = missing_packages() + ([] if shutil.which("make") else ["make"])
    if missing:
        raise Trouble(f"vgpu can't be built here without the packages {', '.join(missing)}: install them")
    command = ["make", "-C", TOP, f"-j{os.cpu_count()}", "--no-print-directory",
               f"BUILD={args.build}", "VARIANT=rel", "gpu-programs"]
    if subprocess.run(command, check=False).returncode != 0:
        raise Trouble("building vgpu failed: see above")


def find_program(args, name):
    path = os.path.join(args.programs, name)
    if not os.access(path, os.X_OK):
        raise Trouble(f"{path} is not there")
    words = missing_libraries(path)
    if words:
        raise Trouble(f"{path} can't run here: {words}")
    return path


def data_folder(args):
    """gpu/, vectors/ and kernels/ in one folder: a bundle has them, in the tree they are linked."""
    if args.data:
        return args.data
    folder = os.path.join(args.out, "data")
    os.makedirs(folder, exist_ok=True)
    for name, target in (("gpu", "tests/gpu/kernels"), ("vectors", "tests/conformance/vectors"),
                         ("kernels", "tests/kernels")):
        link = os.path.join(folder, name)
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(os.path.join(TOP, target), link)
    return folder


# ---- Running ----

def run(command, on_line, timeout=LIMIT_S):
    """Run a program in a process group of its own, pass on each line of its output; its status."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace",
                          start_new_session=True) as process:
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
        signal.alarm(timeout)
        try:
            for line in process.stdout:
                on_line(line.rstrip("\n"))
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            signal.alarm(0)
    return status


def run_tool(args, stage):
    """Rows that vgpu-gpu-check prints, and a failed check when it ends badly without one."""
    rows = []
    command = [find_program(args, "vgpu-gpu-check"), stage, "--data", data_folder(args)]
    command += ["--device", args.device] if args.device else []
    command += ["--hmm"] if args.hmm == "allow" else []
    command += ["--quick"] if args.quick else []
    started = datetime.datetime.now()
    status = run(command, lambda line: rows.append(json.loads(line)))
    failed = any(row.get("status") == "fail" for row in rows)
    if (status != 0) != failed or status not in (0, 1):
        took = (datetime.datetime.now() - started).seconds
        rows.append({"kind": "check", "name": "end of the stage", "status": "fail",
                     "detail": f"the program ended with status {status} after {took} s"})
    return rows


def run_probe(args):
    """vgpud --probe, as rows.  A warning is no failure, and shown."""
    rows, last = [], []
    command = [find_program(args, "vgpud"), "--probe", "--hmm", args.hmm]
    command += ["--device", args.device] if args.device else []

    def line(text):
        match = PROBE.fullmatch(text)
        if match:
            status, check, detail, remediation = match.groups()
            if remediation:
                detail += f" - {remediation}"
            rows.append({"kind": "check", "name": check, "detail": detail,
                         "status": {"PASS": "pass", "FAIL": "fail", "WARN": "warn"}[status]})
        last.append(text)
    status = run(command, line)
    ended = last and re.fullmatch(r"VGPU_PROBE failures=\d+", last[-1])
    failed = any(row["status"] == "fail" for row in rows)
    if not ended or not rows or (status != 0) != failed:
        rows.append({"kind": "check", "name": "probe", "status": "fail",
                     "detail": f"vgpud --probe ended with status {status}"})
    return rows


def run_vm(args):
    """A real guest on this GPU; scripts/gpu-check-vm.py has it."""
    rows = []
    command = [sys.executable, os.path.join(TOP, "scripts", "gpu-check-vm.py"),
               "--programs", args.programs, "--hmm", args.hmm]
    command += ["--device", args.device] if args.device else []
    status = run(command, lambda line: rows.append(json.loads(line)))
    if (status != 0) != any(row.get("status") == "fail" for row in rows) or not rows:
        rows.append({"kind": "check", "name": "end of the stage", "status": "fail",
                     "detail": f"the program ended with status {status}"})
    return rows


def identify(args):
    facts = run_tool(args, "identity")
    for row in facts:
        if row["kind"] == "check":
            raise Trouble(f"{row['name']}: {row['detail']}")
    facts = {key: value for key, value in facts[0].items() if key != "kind"}
    digest = hashlib.sha256()
    for name in ("vgpud", "vgpu-gpu-check"):
        with open(find_program(args, name), "rb") as file:
            digest.update(file.read())
    facts["programs"] = digest.hexdigest()[:16]
    facts["quick"] = args.quick
    facts["hmm"] = args.hmm
    facts["fake"] = bool(FAKE.match(facts["name"]))
    return facts


def host_facts():
    """The machine, as far as /proc and the driver tell."""
    def first(path, pattern):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                match = re.search(pattern, file.read())
                return match.group(1).strip() if match else ""
        except OSError:
            return ""
    return {"cpu": first("/proc/cpuinfo", r"model name\s*:\s*(.*)"), "cpus": os.cpu_count(),
            "nvidia_driver": first("/proc/driver/nvidia/version", r"Kernel Module\s+(?:for \S+\s+)?"
                                   r"([0-9.]+)"),
            "system": first("/etc/os-release", r'PRETTY_NAME="([^"]*)"')}


# ---- Results ----

def passed(rows):
    checks = [row for row in rows if row["kind"] == "check"]
    return bool(checks) and all(row["status"] != "fail" for row in checks) and \
        any(row["status"] == "pass" for row in checks)


def stage_path(args, stage):
    return os.path.join(args.out, stage + ".json")


def write(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def kept(args, stage, identity):
    """Results of an earlier call that still hold: same programs, GPU, driver and sizes."""
    try:
        with open(stage_path(args, stage), encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError):
        return None
    return result if result.get("identity") == identity else None


def run_stage(args, stage, identity):
    say(f"stage {stage} ...")
    started = datetime.datetime.now(datetime.timezone.utc)
    runners = {"probe": run_probe, "vm": run_vm}
    rows = runners[stage](args) if stage in runners else run_tool(args, stage)
    result = {"stage": stage, "identity": identity, "host": host_facts(),
              "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
              "seconds": round((datetime.datetime.now(datetime.timezone.utc)
                                - started).total_seconds(), 1),
              "passed": passed(rows), "rows": rows}
    write(stage_path(args, stage), json.dumps(result, indent=1) + "\n")
    for row in rows:
        if row.get("status") in ("fail", "warn", "skip"):
            say(f"  {row['status'].upper()} {row['name']}: {row['detail']}")
    say(f"stage {stage}: {'passed' if result['passed'] else 'FAILED'}, {result['seconds']} s")
    return result


def quantity(value, unit):
    """A number a person can read."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if unit in ("B/s", "1/s", "B") and value >= factor:
            return f"{value / factor:.3g} {prefix}{unit.removeprefix('1')}"
    return f"{value:.4g} {unit}"


def verdict(row, fake):
    if not row["bar"]:
        return ""
    sign = ">=" if row["better"] == "more" else "<="
    if fake:
        return f"{sign} {row['bar']:g} (no GPU: not judged)"
    met = row["ratio"] >= row["bar"] if row["better"] == "more" else row["ratio"] <= row["bar"]
    return f"{sign} {row['bar']:g} {'met' if met else '**missed**'}"


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def stage_text(result, fake):
    """A stage as Markdown."""
    rows = result["rows"]
    checks = [row for row in rows if row["kind"] == "check"]
    counts = {s: sum(row["status"] == s for row in checks) for s in ("pass", "fail", "skip", "warn")}
    lines = [f"## {result['stage']}: {'passed' if result['passed'] else 'FAILED'}", "",
             f"{result['started']}, {result['seconds']} s; checks: {counts['pass']} passed, "
             f"{counts['fail']} failed, {counts['skip']} not run, {counts['warn']} warnings.", ""]
    lines += ["| check | | |", "|---|---|---|"]
    lines += [f"| {cell(row['name'])} | {row['status']} | {cell(row['detail'])} |" for row in checks]
    figures = [row for row in rows if row["kind"] == "figure"]
    if figures:
        lines += ["", "| figure | native | vgpu | vgpu / native | bar |", "|---|---|---|---|---|"]
        lines += [f"| {cell(r['name'])} | {quantity(r['native'], r['unit'])} | "
                  f"{quantity(r['vgpu'], r['unit'])} | {r['ratio']:.3f} | {verdict(r, fake)} |"
                  for r in figures]
    values = [row for row in rows if row["kind"] == "value"]
    if values:
        lines += ["", "| value | |", "|---|---|"]
        lines += [f"| {cell(r['name'])} | {quantity(r['value'], r['unit'])} |" for r in values]
    return lines + [""]


def report(args, identity, results):
    """Write the report of all stages that have results; its path without the suffix."""
    fake = identity["fake"]
    host = next(iter(results.values()))["host"]
    date = max(result["started"] for result in results.values())[:10]
    folder = args.out if fake else args.results
    name = "fake" if fake else re.sub(r"[^a-z0-9]+", "-", identity["name"].lower()).strip("-")
    base = os.path.join(folder, f"{name}-{date}")
    lines = [f"# gpu-check, {date}", ""]
    if fake:
        lines += ["**This is no GPU.** The driver library is the one made for tests, which computes on the "
                  "processor: nothing here says anything of a GPU, figures least of all.", ""]
    if identity["hmm"] == "allow":
        lines += ["With `--hmm allow`: a driver with HMM on, which vgpud refuses by default, was accepted.", ""]
    if identity["quick"]:
        lines += ["Small sizes (`--quick`): the figures say nothing of speed.", ""]
    lines += ["| | |", "|---|---|",
              f"| {'test library' if fake else 'GPU'} | {cell(identity['name'])}, "
              f"{identity['memory_mib']} MiB |",
              f"| UUID, PCI address | {identity['uuid']}, {identity['pci']} |",
              f"| driver | {host['nvidia_driver'] or 'none loaded'}, CUDA {identity['cuda']} |",
              f"| host | {cell(host['cpu'])}, {host['cpus']} processors, {cell(host['system'])}, "
              f"Linux {identity['kernel']} |",
              f"| programs | {identity['programs']} |", ""]
    for stage in STAGES:
        lines += stage_text(results[stage], fake) if stage in results else \
            [f"## {stage}: not run", ""]
    os.makedirs(folder, exist_ok=True)
    write(base + ".md", "\n".join(lines).rstrip("\n") + "\n")
    write(base + ".json", json.dumps(
        {"identity": identity, "host": host,
         "stages": {s: results.get(s, {"stage": s, "passed": None}) for s in STAGES}},
        indent=1) + "\n")
    return base


def parse():
    parser = argparse.ArgumentParser(description="check and measure vgpu on a GPU")
    parser.add_argument("--stage", default="")
    parser.add_argument("--vm", action="store_true", help="the vm stage, too")
    parser.add_argument("--device", help="UUID or PCI address, where there are several GPUs")
    parser.add_argument("--hmm", choices=("refuse", "allow"), default="refuse",
                        help="whether a driver with HMM on is accepted (refuse)")
    parser.add_argument("--programs", help="folder of vgpud and vgpu-gpu-check, not built here")
    parser.add_argument("--data", help="folder of gpu/, vectors/ and kernels/")
    parser.add_argument("--build", default="build")
    parser.add_argument("--results", default=os.path.join(TOP, "docs", "results"))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--again", action="store_true", help="run what passed before, too")
    args = parser.parse_args()
    args.wanted = [s for s in args.stage.split(",") if s] or [s for s in STAGES if s != "vm"]
    if args.vm and "vm" not in args.wanted:
        args.wanted.append("vm")
    unknown = [s for s in args.wanted if s not in STAGES]
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}: there are {', '.join(STAGES)}")
    args.build = os.path.abspath(args.build)
    args.prebuilt = args.programs is not None
    args.programs = os.path.abspath(args.programs or os.path.join(args.build, "rel", "bin"))
    args.out = os.path.join(args.build, "gpu-check")
    os.makedirs(args.out, exist_ok=True)
    return args


def main():
    args = parse()
    if not shutil.which("ldd"):
        sys.exit("gpu-check: no ldd: install libc-bin")
    try:
        if not args.prebuilt:
            build_programs(args)
        identity = identify(args)
    except (Trouble, OSError, ValueError) as error:
        say(f"FAILED before any stage: {error}")
        sys.exit(1)
    say(f"{'NO GPU, a test library: ' if identity['fake'] else ''}{identity['name']}, "
        f"CUDA {identity['cuda']}, {identity['uuid']}")
    failed = []
    for stage in args.wanted:
        result = None if args.again else kept(args, stage, identity)
        if result and result["passed"]:
            say(f"stage {stage}: passed at {result['started']}, not run again")
            continue
        try:
            if not run_stage(args, stage, identity)["passed"]:
                failed.append(stage)
        except (Trouble, OSError, ValueError) as error:
            say(f"stage {stage} could not run: {error}")
            failed.append(stage)
    results = {s: r for s in STAGES if (r := kept(args, s, identity))}
    if results:
        say(f"report: {report(args, identity, results)}.md")
    if failed:
        say("FAILED: " + ", ".join(failed))
        sys.exit(1)
    say("all stages asked for passed: " + ", ".join(args.wanted))


if __name__ == "__main__":
    main()
