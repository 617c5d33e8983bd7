//! What a pod is called and how it finds others: host name, `/etc/hosts`, `/etc/resolv.conf`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// The kernel's limit of a host name.
const HOSTNAME_MAX: usize = 63;
/// Upstream's limits of `resolv.conf`.
const MAX_SEARCHES: usize = 32;
const MAX_SERVERS: usize = 3;

/// Host name and domain of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// `hostname` of the spec, or the pod's name.
    pub(crate) hostname: String,
    /// `subdomain.namespace.svc.domain`, if there is a subdomain.
    pub(crate) domain: Option<String>,
    /// What the kernel is told.
    pub(crate) kernel: String,
}

/// The names of a pod; an error text if its full name is too long for the kernel.
pub(crate) fn names(pod: &Pod, cluster_domain: &str) -> Result<Names, String> {
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.filter(|value| !value.is_empty()).cloned();
    let name = pod.metadata.name.clone().unwrap_or_default();
    if let Some(own) = text(spec.and_then(|spec| spec.hostname_override.as_ref())) {
        return Ok(Names { kernel: own.clone(), hostname: own, domain: None });
    }
    let hostname = cut(&text(spec.and_then(|spec| spec.hostname.as_ref())).unwrap_or(name)).to_owned();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = text(spec.and_then(|spec| spec.subdomain.as_ref()))
        .map(|subdomain| format!("{subdomain}.{namespace}.svc.{cluster_domain}"));
    let as_fqdn = spec.and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let kernel = match &domain {
        Some(domain) if as_fqdn => format!("{hostname}.{domain}"),
        Some(_) | None => hostname.clone(),
    };
    if kernel.len() > HOSTNAME_MAX + 1 {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {kernel} is too long \
             ({HOSTNAME_MAX} characters is the max, {} characters requested)",
            kernel.len()
        ));
    }
    Ok(Names { hostname, domain, kernel })
}

fn cut(name: &str) -> &str {
    let end = name.len().min(HOSTNAME_MAX);
    name.get(..end).unwrap_or(name).trim_end_matches(['-', '.'])
}

/// The managed `/etc/hosts`.
pub(crate) fn hosts_file(pod: &Pod, names: &Names, ips: &[IpAddr]) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\n\
        fe00::0\tip6-mcastprefix\n\
        fe00::1\tip6-allnodes\n\
        fe00::2\tip6-allrouters\n"
        .to_owned();
    for ip in ips {
        match &names.domain {
            Some(domain) => text.push_str(&format!("{ip}\t{}.{domain}\t{}\n", names.hostname, names.hostname)),
            None => text.push_str(&format!("{ip}\t{}\n", names.hostname)),
        }
    }
    text + &aliases(pod)
}

/// `/etc/hosts` of a pod in the host's network: the host's, with the pod's aliases.
pub(crate) fn host_network_hosts_file(pod: &Pod, host: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{host}{}", aliases(pod))
}

fn aliases(pod: &Pod) -> String {
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = "\n# Entries added by HostAliases.\n".to_owned();
    for alias in aliases {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
        ));
    }
    text
}

/// What `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    /// Reads a `resolv.conf`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                Some("search") => resolver.searches = words.map(|word| word.trim_end_matches('.').to_owned()).collect(),
                Some("options") => resolver.options = words.map(str::to_owned).collect(),
                Some(_) | None => {}
            }
        }
        resolver
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// The resolver of a pod, from its policy, its own settings, the cluster's servers and the host's file.
pub(crate) fn resolver(pod: &Pod, cluster_dns: &[IpAddr], cluster_domain: &str, host: &Resolver) -> Resolver {
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|spec| spec.host_network) == Some(true);
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let cluster = policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !host_network);
    let mut resolver = if policy == "None" {
        Resolver::default()
    } else if cluster && !cluster_dns.is_empty() {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut searches = vec![
            format!("{namespace}.svc.{cluster_domain}"),
            format!("svc.{cluster_domain}"),
            cluster_domain.to_owned(),
        ];
        searches.extend(host.searches.iter().filter(|search| !search.is_empty()).cloned());
        Resolver {
            servers: cluster_dns.iter().map(IpAddr::to_string).collect(),
            searches,
            options: vec!["ndots:5".to_owned()],
        }
    } else {
        host.clone()
    };
    if let Some(own) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        append(&mut resolver.servers, own.nameservers.iter().flatten());
        append(&mut resolver.searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            resolver.options.retain(|had| had.split(':').next() != Some(name.as_str()));
            resolver.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    resolver.servers.truncate(MAX_SERVERS);
    resolver.searches.truncate(MAX_SEARCHES);
    resolver
}

fn append<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    #[track_caller]
    fn check(spec: Value, expected: &str) {
        let host = Resolver::parse("search lan\nnameserver 192.0.2.1\noptions edns0\n");
        let dns = ["10.96.0.10".parse().unwrap()];
        assert_eq!(resolver(&pod(spec), &dns, "cluster.local", &host).text(), expected);
    }

    #[test]
    fn resolvers() {
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local lan\n\
            nameserver 10.96.0.10\noptions ndots:5\n";
        check(json!({}), cluster);
        check(json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), cluster);
        check(json!({"hostNetwork": true}), "search lan\nnameserver 192.0.2.1\noptions edns0\n");
        let own = json!({"nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "ndots", "value": "2"}]});
        check(json!({"dnsPolicy": "None", "dnsConfig": own}), "search a\nnameserver 1.1.1.1\noptions ndots:2\n");
    }

    #[test]
    fn host_names() {
        let named = pod(json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true}));
        let found = names(&named, "cluster.local").unwrap();
        assert_eq!(found.kernel, "h.s.shop.svc.cluster.local");
        let hosts = hosts_file(&named, &found, &["10.244.0.5".parse().unwrap()]);
        assert!(hosts.ends_with("fe00::2\tip6-allrouters\n10.244.0.5\th.s.shop.svc.cluster.local\th\n"));
        assert_eq!(names(&pod(json!({})), "cluster.local").unwrap().kernel, "web");
        assert_eq!(cut(&format!("{}-b", "a".repeat(62))), "a".repeat(62));
    }
}
