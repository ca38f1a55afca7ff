#!/bin/sh
# with-systemd.sh COMMAND...: runs a command as a service of a systemd of its own, the first process of a PID namespace
# that owns the machine's cgroups. Only for the machine of `npm run test:v2`: on a host with users it would take theirs.
set -e
out=/run/with-systemd
mkdir -p $out /run/systemd/system
printf '%s\n' "$*" >$out/command
env | grep -E '^(PATH|NODE_OPTIONS|HOME|CI|NO_COLOR|LANG|TMPDIR|MACHINE_RESULTS)=' | sed "s/^/export '/; s/\$/'/" >$out/environment
cat >/run/systemd/system/command.service <<END
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
WorkingDirectory=$PWD
StandardOutput=append:$out/output
StandardError=append:$out/output
ExecStart=/bin/sh -c '. $out/environment; . $out/command; echo \$? >$out/code'
END
unshare --pid --fork --mount --mount-proc env container=other \
  /lib/systemd/systemd --system --unit=command.service --log-target=console --log-level=warning --show-status=0 || true
cat $out/output
exit "$(cat $out/code)"
