#!/usr/bin/env bash
# Runs COMMAND on a Slurm cluster of its own, of this one machine, and ends the cluster with it:
#
#     tests/workflow/slurm.sh [--install] [--accounting] COMMAND ...
#
# COMMAND finds the cluster by SLURM_CONF. Everything lies in a temporary folder (keys, sockets, ports on 127.0.0.1,
# state), so a Slurm that already runs here is not touched, and root is not needed.
#
#   --install     where packages are missing: Debian's by apt-get (as root; it may start services of theirs), and those
#                 of slurm.txt into the temporary folder, put on PYTHONPATH for COMMAND. Without it nothing is installed.
#   --accounting  with slurmdbd on MariaDB, so that sacct answers; without it Snakemake needs
#                 --slurm-status-command squeue.
#
# Signals, sent to this script, break the cluster while COMMAND runs:
#   USR1  slurmd is killed (-9) and started again
#   USR2  power fails: slurmd and all jobs are killed (-9); after some seconds slurmd starts and reports a reboot
# INT, TERM, HUP end COMMAND and the cluster.
#
# At the end it says of each job on standard error: id, rule, state, starts after the first, seconds from submission to
# (last) start, seconds on the node. Exit status: COMMAND's; 77 where the cluster cannot be run here, with the reason; 70
# where it did not start, with the ends of its logs.
set -euo pipefail

# A batch job leaves its parent. As the "subreaper" this script becomes the parent of all that its children leave, so it
# finds each process of the cluster below itself, and no other.
PYTHON=${PYTHON:-python3}
if [ "${SLURM_SH:-}" != $$ ]; then
    exec "$PYTHON" -c '
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER, which outlives exec
os.environ["SLURM_SH"] = str(os.getpid())
os.execvp("bash", ["bash", *sys.argv[1:]])' "$0" "$@"
fi
unset SLURM_SH

HERE=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
DOWN=12       # seconds without power. A node that is back is asked for its jobs if they are older than 1 + 10 s
PATIENCE=120  # seconds for a daemon to answer

say() { echo "slurm: $*" >&2; }
cannot() { say "cannot run here: $*"; exit 77; }

install= accounting=
while [ $# -gt 0 ]; do
    case $1 in
        --install) install=1 ;;
        --accounting) accounting=1 ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) say "unknown option $1; see $0 --help"; exit 64 ;;
        *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || { say "no COMMAND given; see $0 --help"; exit 64; }

# ---- What is needed

packages=(munge slurmctld slurmd slurm-client)
programs=(munged slurmctld slurmd scontrol sinfo sbatch srun)
if [ "$accounting" ]; then
    packages+=(slurmdbd mariadb-server)
    programs+=(slurmdbd sacctmgr mariadbd mariadb-install-db mariadb)
fi

missing() {  # the programs that are not here
    local program
    for program in "${programs[@]}"; do command -v "$program" > /dev/null || echo -n "$program "; done
}

by_apt() {  # install Debian's packages; fails where that cannot be done
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || return 1
    local apt=(timeout 200 apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=15 -o DPkg::Lock::Timeout=120)
    "${apt[@]}" update && DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${packages[@]}"
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/slurm.XXXXXX")  # short: a socket's path has at most 107 characters
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT

command -v setpriv > /dev/null || cannot "setpriv (util-linux) is missing"
if [ "$(missing)" ] && [ "$install" ]; then
    by_apt > "$folder/apt.log" 2>&1 < /dev/null || cannot "apt-get does not install ${packages[*]}: $(tail -n 1 "$folder/apt.log")"
fi
[ ! "$(missing)" ] || cannot "no $(missing)(Debian: ${packages[*]}); --install installs them, as root"
if ! "$PYTHON" -c 'import snakemake_executor_plugin_slurm' 2> /dev/null; then
    [ "$install" ] || cannot "$PYTHON has no snakemake-executor-plugin-slurm; pip install -e .[slurm], or --install"
    "$PYTHON" -m pip install --disable-pip-version-check -q --retries 1 --no-deps --target "$folder/python" -r "$HERE/slurm.txt" \
        > "$folder/pip.log" 2>&1 || cannot "pip does not install slurm.txt: $(tail -n 1 "$folder/pip.log")"
    export PYTHONPATH="$folder/python${PYTHONPATH:+:$PYTHONPATH}"
fi

# ---- The cluster

host=$(uname -n)
host=${host%%.*}
me=$(id -un)
cpus=$(getconf _NPROCESSORS_ONLN)
read -r controller node database books <<< "$("$PYTHON" -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(each.getsockname()[1] for each in sockets))')"
export SLURM_CONF=$folder/slurm.conf
socket=$folder/munge.socket
mkdir "$folder/state" "$folder/spool" "$folder/bin"
# The plug-in's job step (0.6.1) starts srun without SLURM_CONF, as if every cluster's file lay in /etc/slurm.
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$folder/bin/srun"
chmod +x "$folder/bin/srun"
PATH=$folder/bin:$PATH
touch "$folder/gpu0"  # an empty file stands for a GPU: one job at a time has it
echo "Name=gpu File=$folder/gpu0" > "$folder/gres.conf"
# Memory is counted, not used: enough for what the profile asks for. cred_expire is how long a job waits when it is queued
# again.
cat > "$SLURM_CONF" << END
ClusterName=dpmot
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
AuthInfo=socket=$socket,cred_expire=20
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
BatchStartTimeout=1
MinJobAge=3600
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$((cpus > 1 ? cpus : 2)) RealMemory=200000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
if [ "$accounting" ]; then
    cat >> "$SLURM_CONF" << END
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$books
AccountingStoragePass=$socket
AccountingStorageTRES=gres/gpu
END
    cat > "$folder/slurmdbd.conf" << END
AuthType=auth/munge
AuthInfo=socket=$socket
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$books
SlurmUser=$me
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$database
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
LogFile=$folder/slurmdbd.log
PidFile=$folder/slurmdbd.pid
END
    chmod 600 "$folder/slurmdbd.conf"
fi

declare -A daemon  # name: process id

start() {  # start NAME COMMAND ...: a daemon in the foreground of this script, which does not outlive it
    local name=$1
    shift
    setpriv --pdeathsig KILL "$@" >> "$folder/$name.out" 2>&1 < /dev/null &
    daemon[$name]=$!
    disown $!  # or bash would report its end
}

answers() {  # answers NAME CONDITION ...: wait until it holds, the daemon NAME living
    local name=$1 end=$((SECONDS + PATIENCE))
    shift
    until "$@" > /dev/null 2>&1; do
        if ! kill -0 "${daemon[$name]}" 2> /dev/null || [ $SECONDS -gt $end ]; then
            say "$name does not answer; the ends of the logs in its folder:"
            tail -n 15 "$folder"/*.log "$folder"/*.out >&2 || true
            exit 70
        fi
        sleep 0.2
    done
}

below() {  # below PID: the processes that it started, and theirs, and so on
    ps -e -o pid= -o ppid= | awk -v top="$1" '
        { parent[$1] = $2 }
        END { for (one in parent) { up = parent[one]; while (up != top && up in parent) up = parent[up]; if (up == top) print one } }'
}

of_the_node() {  # slurmd, and the jobs, which have left it: what is neither COMMAND nor another daemon, nor below them
    local name others=("$command")
    for name in "${!daemon[@]}"; do [ "$name" = slurmd ] || others+=("${daemon[$name]}"); done
    comm -23 <(below $$ | sort) <(for one in "${others[@]}"; do echo "$one"; below "$one"; done | sort)
}

end() {  # all that this script started
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP USR1 USR2
    if [ "${command:-}" ] && kill -TERM "$command" 2> /dev/null; then
        for _ in {1..50}; do kill -0 "$command" 2> /dev/null || break; sleep 0.1; done
    fi
    while others=$(below $$) && kill -KILL $others 2> /dev/null; do :; done  # until there is nothing to kill
    rm -rf "$folder"
    exit "$status"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

up() { [ "$(sinfo -h -o %T)" = "${1:-idle}" ]; }
controlled() { scontrol ping | grep -q 'is UP'; }

(umask 077 && head -c 1024 /dev/urandom > "$folder/munge.key")
start munged munged --foreground --force --key-file="$folder/munge.key" --socket="$socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
answers munged test -S "$socket"
if [ "$accounting" ]; then
    mkdir "$folder/database"
    mariadb-install-db --no-defaults --user="$me" --datadir="$folder/database" --auth-root-authentication-method=socket \
        --skip-test-db > "$folder/install.out" 2>&1
    start mariadbd mariadbd --no-defaults --user="$me" --datadir="$folder/database" --socket="$folder/db.socket" \
        --bind-address=127.0.0.1 --port="$database" --pid-file="$folder/mariadbd.pid" --innodb-buffer-pool-size=128M \
        --innodb-lock-wait-timeout=900
    sql() { mariadb --no-defaults --socket="$folder/db.socket" -u "$me" -e "$1"; }
    answers mariadbd sql "select 1"
    sql "create database slurm_acct; create user slurm@127.0.0.1 identified by 'slurm'; create user slurm@localhost
        identified by 'slurm'; grant all on slurm_acct.* to slurm@127.0.0.1; grant all on slurm_acct.* to slurm@localhost;"
    start slurmdbd slurmdbd -D
    answers slurmdbd sacctmgr -n list cluster
fi
start slurmctld slurmctld -D
answers slurmctld controlled
start slurmd slurmd -D
answers slurmd up
say "up: $(slurmd -V), $cpus cores${accounting:+, with accounting}, in $folder"

# ---- COMMAND, and what happens meanwhile

again=
kill_slurmd() {
    again=1
    kill -KILL "${daemon[slurmd]}" || true
    start slurmd slurmd -D
    say "slurmd was killed and started again"
}
fail_power() {
    again=1
    local lost
    while lost=$(of_the_node) && kill -KILL $lost 2> /dev/null; do :; done
    say "power failed"
    sleep "$DOWN"
    start slurmd slurmd -D -b
    say "power is back"
}
trap kill_slurmd USR1
trap fail_power USR2

"$@" < /dev/null &
command=$!
while :; do
    again=
    wait "$command" && status=0 || status=$?
    [ "$again" ] || break  # a signal ends a wait
done
command=
scontrol -o show job 2> /dev/null | "$PYTHON" -c '
import re, sys
from datetime import datetime
for line in sys.stdin:
    job = dict(re.findall(r"(\w+)=(\S*)", line))
    submitted, started, ended = (datetime.fromisoformat(job[key]) for key in ("SubmitTime", "StartTime", "EndTime"))
    told = [(started - submitted).seconds, "s to start,", (ended - started).seconds, "s on the node"]
    print("slurm: job", job["JobId"], job.get("Comment", "-"), job["JobState"], job["Restarts"], "restarts,", *told)
' >&2 || true
exit "$status"
