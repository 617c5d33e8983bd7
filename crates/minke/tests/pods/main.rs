//! What a pod promises, shown on real containers through the API, by a foreign client. Each test is named after the promise it shows.
//! They need root and `/bin/busybox`, share one cluster, and leave nothing behind, which the end checks.

mod host;
mod resource;
mod start;
mod termination;

use std::path::Path;
use std::process::ExitCode;

use testkit::{Suite, need_root};

fn main() -> anyhow::Result<ExitCode> {
    if !need_root() {
        return Ok(ExitCode::SUCCESS);
    }
    let suite = Suite::new(Path::new(env!("CARGO_BIN_EXE_minke")))?
        .test("p01_containers_start_and_end_together", host::p01_containers_start_and_end_together)
        .test("p01_scheduling_is_all_or_nothing", host::p01_scheduling_is_all_or_nothing)
        .test("p02_containers_share_the_network", host::p02_containers_share_the_network)
        .test("p03_containers_share_ipc", host::p03_containers_share_ipc)
        .test("p05_containers_are_isolated", host::p05_containers_are_isolated)
        .test("p06_the_hostname_is_the_pods_name", host::p06_the_hostname_is_the_pods_name)
        .test("p07_volume_outlives_container_restart", host::p07_volume_outlives_container_restart)
        .test("p08_volume_ends_with_the_uid", host::p08_volume_ends_with_the_uid)
        .test("p09_puller_and_server_share_a_volume", host::p09_puller_and_server_share_a_volume)
        .test("p20_a_pod_is_bound_once", start::p20_a_pod_is_bound_once)
        .test("p21_restarts_and_reasons", start::p21_restarts_and_reasons)
        .test("p55_events_tell_what_happens", start::p55_events_tell_what_happens)
        .test("images_and_commands_that_are_wrong", start::images_and_commands_that_are_wrong)
        .test("p30_deleting_records_the_grace_period", termination::p30_deleting_records_the_grace_period)
        .test("p32_every_container_gets_its_signal", termination::p32_every_container_gets_its_signal)
        .test("p32_sidecars_end_last_in_reverse", termination::p32_sidecars_end_last_in_reverse)
        .test("p34_what_ignores_term_is_killed", termination::p34_what_ignores_term_is_killed)
        .test(
            "p35_a_pod_is_there_until_its_processes_are_gone",
            termination::p35_a_pod_is_there_until_its_processes_are_gone,
        )
        .test("p37_forced_deletion_frees_the_name_at_once", termination::p37_forced_deletion_frees_the_name_at_once)
        .test("p38_a_second_delete_only_shortens", termination::p38_a_second_delete_only_shortens)
        .test("p50_verbs_of_the_collection", resource::p50_verbs_of_the_collection)
        .test("p50_subresources", resource::p50_subresources)
        .test("p50_ports_are_forwarded", resource::p50_ports_are_forwarded);
    Ok(suite.run())
}
