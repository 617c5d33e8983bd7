//! What a pod promises, shown on real containers through the API, by a foreign client. Each test is named after the promise it shows.
//! They need root and `/bin/busybox`, share one cluster, and leave nothing behind, which the end checks.

mod host;
mod life;
mod looking;
mod outbox;
mod privilege;
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
        .test("p04_namespaces_are_shared_as_asked", host::p04_namespaces_are_shared_as_asked)
        .test("p05_containers_are_isolated", host::p05_containers_are_isolated)
        .test("p06_the_hostname_is_the_pods_name", host::p06_the_hostname_is_the_pods_name)
        .test("p07_volume_outlives_container_restart", host::p07_volume_outlives_container_restart)
        .test("p08_volume_ends_with_the_uid", host::p08_volume_ends_with_the_uid)
        .test("p08_an_ephemeral_volume_is_its_pods_own", host::p08_an_ephemeral_volume_is_its_pods_own)
        .test("p09_puller_and_server_share_a_volume", host::p09_puller_and_server_share_a_volume)
        .test("p20_a_pod_is_bound_once", start::p20_a_pod_is_bound_once)
        .test("p21_restarts_and_reasons", start::p21_restarts_and_reasons)
        .test("p55_events_tell_what_happens", start::p55_events_tell_what_happens)
        .test("images_and_commands_that_are_wrong", start::images_and_commands_that_are_wrong)
        .test("p23_a_pod_that_fills_the_disk_is_evicted", termination::p23_a_pod_that_fills_the_disk_is_evicted)
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
        .test("p11_init_containers_and_sidecars_start_in_order", life::p11_init_containers_and_sidecars_start_in_order)
        .test("p11_an_ephemeral_container_joins_a_running_pod", life::p11_an_ephemeral_container_joins_a_running_pod)
        .test("p21_codes_signals_and_memory_are_told", life::p21_codes_signals_and_memory_are_told)
        .test("p21_back_off_grows_and_rules_of_a_container_win", life::p21_back_off_grows_and_rules_of_a_container_win)
        .test(
            "p24_the_main_process_is_pid_1_and_zombies_are_reaped",
            life::p24_the_main_process_is_pid_1_and_zombies_are_reaped,
        )
        .test("p26_one_containers_image_is_updated_in_place", life::p26_one_containers_image_is_updated_in_place)
        .test("p26_resources_change_in_place", life::p26_resources_change_in_place)
        .test("p26_a_pods_own_resources_hold", life::p26_a_pods_own_resources_hold)
        .test("p27_probes_decide", life::p27_probes_decide)
        .test("p27_hooks_run_inside_the_pod", life::p27_hooks_run_inside_the_pod)
        .test("logs_are_cut_as_asked", looking::logs_are_cut_as_asked)
        .test("logs_are_rotated_and_followed_across_it", looking::logs_are_rotated_and_followed_across_it)
        .test("a_terminal_has_a_size", looking::a_terminal_has_a_size)
        .test("p25_usage_is_visible", looking::p25_usage_is_visible)
        .test("p40_a_privileged_container_can_do_everything", privilege::p40_a_privileged_container_can_do_everything)
        .test("p43_users_groups_and_files", privilege::p43_users_groups_and_files)
        .test("p43_what_breaks_a_promise_does_not_run", privilege::p43_what_breaks_a_promise_does_not_run)
        .test(
            "p31_a_hook_that_hangs_has_the_grace_period_and_two_seconds",
            termination::p31_a_hook_that_hangs_has_the_grace_period_and_two_seconds,
        )
        .test(
            "p33_an_ending_pod_leaves_the_ready_endpoints_and_serves",
            termination::p33_an_ending_pod_leaves_the_ready_endpoints_and_serves,
        )
        .test(
            "p38_finalizers_hold_the_object_not_the_processes",
            termination::p38_finalizers_hold_the_object_not_the_processes,
        )
        .test("p50_verbs_of_the_collection", resource::p50_verbs_of_the_collection)
        .test("p50_subresources", resource::p50_subresources)
        .test("p50_ports_are_forwarded", resource::p50_ports_are_forwarded);
    Ok(suite.run())
}
