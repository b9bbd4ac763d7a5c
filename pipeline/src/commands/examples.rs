//! What `--help` shows below the options: how each command is used.

pub(super) const REDTAP: &str = "Examples:
  sudo redtap demo                     services to try it on
  sudo redtap                          watch everything on this machine
  redtap top                           what the running agent sees, on a terminal
  redtap COMMAND --help                options and examples of a command";

pub(super) const RUN: &str = "Examples:
  sudo redtap run                      everything on this machine; a live table on a terminal
  sudo redtap run --cgroup /sys/fs/cgroup/system.slice/nginx.service --port 443
  sudo redtap run --process '!sshd' --governor-cpu 0
  sudo REDTAP__LOG__LEVEL=debug redtap run --config ./redtap.toml --no-table";

pub(super) const DOCTOR: &str = "Examples:
  sudo redtap doctor                   what loads here, and why not
  sudo redtap doctor > /dev/null && sudo redtap run";

pub(super) const RECORD: &str = "Examples:
  sudo redtap record events --seconds 30 --port 80
  sudo redtap record events --process nginx      until Ctrl-C
  redtap replay events --records -               what was in it";

pub(super) const REPLAY: &str = "Examples:
  redtap replay traffic.pcap                     what /metrics would show
  redtap replay traffic.pcapng.gz --records -    one JSON object a request
  ssh HOST tcpdump -i any -U -w - port 80 | redtap replay - --follow --records -";

pub(super) const CONFIG: &str = "Examples:
  redtap config                                  all keys, their values, and who said so
  REDTAP__HTTP__LISTEN=127.0.0.1:8080 redtap config --config ./redtap.toml";

pub(super) const COMPLETIONS: &str = "Examples:
  redtap completions bash > /etc/bash_completion.d/redtap
  redtap completions zsh > \"${fpath[1]}/_redtap\"
  redtap completions fish > ~/.config/fish/completions/redtap.fish";

pub(super) const RULES: &str = "Examples:
  redtap rules > redtap.rules.yml                what the agent evaluates, as rules of Prometheus
  redtap rules --format promtool-test > test.yml && promtool test rules test.yml
  redtap rules --format prometheusrule | kubectl apply -f -";

pub(super) const DASHBOARDS: &str = "Examples:
  redtap dashboards /var/lib/grafana/dashboards  one file each, to import or to provision";
