//! The settings of this kernel for namespaces, and what to change in them.

use std::fs;

use nix::unistd::Uid;

/// The settings that decide whether a namespace can be made. `None`: this kernel has no
/// such setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// Whether this process is root in its user namespace.
    is_root: bool,
    /// The maximum number of namespaces of each kind that a user may have (`namespaces(7)`).
    max_user: Option<u64>,
    max_net: Option<u64>,
    max_pid: Option<u64>,
    /// Debian's setting: 0 forbids user namespaces to all but root.
    unprivileged_clone: Option<u64>,
    /// Ubuntu's setting: 1 removes the capabilities in a user namespace.
    apparmor_restricts: Option<u64>,
}

impl Policy {
    /// The present settings.
    pub(super) fn read() -> Self {
        let setting = |name: &str| {
            let path = format!("/proc/sys/{name}");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        Self {
            is_root: Uid::effective().is_root(),
            max_user: setting("user/max_user_namespaces"),
            max_net: setting("user/max_net_namespaces"),
            max_pid: setting("user/max_pid_namespaces"),
            unprivileged_clone: setting("kernel/unprivileged_userns_clone"),
            apparmor_restricts: setting("kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    /// What to do if the kernel reports that there are too many.
    pub(super) fn remedy_for_too_many(&self) -> String {
        let limits = self.limits();
        let zeros = limits.iter().filter(|(_, most)| *most == Some(0));
        let mut names: Vec<&str> = zeros.map(|(name, _)| *name).collect();
        if names.is_empty() {
            names = limits.iter().map(|(name, _)| *name).collect();
        }
        let now = limits.iter().filter(|(name, _)| names.contains(name));
        let now: Vec<String> = now
            .filter_map(|(name, most)| Some(format!("{name} is {}", (*most)?)))
            .collect();
        let settings: Vec<String> = names.iter().map(|name| format!("{name}=1000")).collect();
        format!(
            "raise the limit ({}):\n  sudo sysctl -w {}",
            now.join(", "),
            settings.join(" ")
        )
    }

    /// What to do if it is not permitted.
    pub(super) fn remedy_for_forbidden(&self) -> String {
        if self.is_root {
            return "root lacks a capability here, as in a container: start it with\n  \
                    --cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun"
                .to_owned();
        }
        let forbidding = [
            (
                self.unprivileged_clone == Some(0),
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                self.apparmor_restricts == Some(1),
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (self.max_user == Some(0), "user.max_user_namespaces=1000"),
        ];
        let changes: Vec<String> = forbidding
            .iter()
            .filter(|(is_forbidding, _)| *is_forbidding)
            .map(|(_, change)| format!("\n  sudo sysctl -w {change}"))
            .collect();
        if changes.is_empty() {
            return "run as root. No setting of the kernel forbids it, so it is a sandbox. \
                    A container is started with\n  \
                    --cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun"
                .to_owned();
        }
        format!("run as root, or allow user namespaces:{}", changes.concat())
    }

    const fn limits(&self) -> [(&'static str, Option<u64>); 3] {
        [
            ("user.max_user_namespaces", self.max_user),
            ("user.max_net_namespaces", self.max_net),
            ("user.max_pid_namespaces", self.max_pid),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Policy = Policy {
        is_root: false,
        max_user: Some(1000),
        max_net: Some(1000),
        max_pid: Some(1000),
        unprivileged_clone: None,
        apparmor_restricts: None,
    };

    #[test]
    fn a_limit_of_zero_is_named() {
        let policy = Policy {
            max_user: Some(0),
            ..PLENTY
        };
        assert_eq!(
            policy.remedy_for_too_many(),
            "raise the limit (user.max_user_namespaces is 0):\n  \
             sudo sysctl -w user.max_user_namespaces=1000"
        );
        let policy = Policy {
            max_net: Some(0),
            ..PLENTY
        };
        let remedy = policy.remedy_for_too_many();
        assert!(remedy.contains("user.max_net_namespaces=1000"), "{remedy}");
        assert!(!remedy.contains("user.max_user_namespaces"), "{remedy}");
    }

    #[test]
    fn without_a_zero_every_limit_is_shown() {
        let remedy = Policy {
            max_pid: Some(7),
            ..PLENTY
        }
        .remedy_for_too_many();
        for words in [
            "user.max_pid_namespaces is 7",
            "user.max_user_namespaces=1000",
        ] {
            assert!(remedy.contains(words), "{remedy}");
        }
    }

    #[test]
    fn only_the_settings_that_forbid_it_are_changed() {
        let debian = Policy {
            unprivileged_clone: Some(0),
            ..PLENTY
        };
        let ubuntu = Policy {
            apparmor_restricts: Some(1),
            ..PLENTY
        };
        let [debian, ubuntu] = [debian, ubuntu].map(|policy| policy.remedy_for_forbidden());
        assert!(debian.contains("unprivileged_userns_clone=1"), "{debian}");
        assert!(!debian.contains("apparmor"), "{debian}");
        assert!(
            ubuntu.contains("apparmor_restrict_unprivileged_userns=0"),
            "{ubuntu}"
        );
        assert!(!ubuntu.contains("unprivileged_userns_clone"), "{ubuntu}");
        let allowed = Policy {
            unprivileged_clone: Some(1),
            apparmor_restricts: Some(0),
            ..PLENTY
        };
        let remedy = allowed.remedy_for_forbidden();
        assert!(
            !remedy.contains("sysctl") && remedy.contains("--cap-add"),
            "{remedy}"
        );
    }

    #[test]
    fn root_is_not_advised_to_be_root() {
        let root = Policy {
            is_root: true,
            unprivileged_clone: Some(0),
            ..PLENTY
        };
        let remedy = root.remedy_for_forbidden();
        assert!(
            !remedy.contains("run as root") && remedy.contains("--cap-add"),
            "{remedy}"
        );
    }
}
