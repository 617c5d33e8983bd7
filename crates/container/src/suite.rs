//! What every [`Runtime`] must do, run by the tests of each.

use crate::config::{ContainerConfig, SandboxConfig};
use crate::error::Error;
use crate::runtime::{ContainerState, Event, Events, Exit, Runtime, SandboxState};

/// A sandbox and a container for it whose program runs until it is killed. The ids are the suite's own.
pub struct Given {
    /// The sandbox.
    pub sandbox: SandboxConfig,
    /// The container.
    pub container: ContainerConfig,
}

/// Runs the whole suite on a runtime with nothing in it, and leaves nothing in it.
///
/// # Panics
/// If the runtime does something else than it must.
pub async fn run(runtime: &dyn Runtime, given: Given) {
    let Given { mut sandbox, mut container } = given;
    sandbox.id = "suite".to_owned();
    container.sandbox_id.clone_from(&sandbox.id);
    container.id = "suite-c".to_owned();
    nothing_is_there(runtime, &container).await;
    runtime.run_sandbox(sandbox.clone()).await.expect("a sandbox");
    assert!(matches!(runtime.run_sandbox(sandbox).await, Err(Error::AlreadyExists(_))));
    a_life(runtime, &container).await;
    the_end_of_a_sandbox(runtime, &container).await;
}

async fn nothing_is_there(runtime: &dyn Runtime, container: &ContainerConfig) {
    assert_eq!(runtime.list(), []);
    assert!(matches!(runtime.create_container(container.clone()).await, Err(Error::SandboxNotFound(_))));
    assert!(matches!(runtime.start_container(&container.id).await, Err(Error::ContainerNotFound(_))));
    assert!(matches!(runtime.signal_container(&container.id, 9).await, Err(Error::ContainerNotFound(_))));
    assert!(matches!(runtime.exec_sync(&container.id, Vec::new(), None).await, Err(Error::ContainerNotFound(_))));
    assert!(matches!(runtime.sandbox_stats("suite").await, Err(Error::SandboxNotFound(_))));
    runtime.remove_container(&container.id).await.expect("removing nothing");
    runtime.stop_sandbox("suite").await.expect("stopping nothing");
    runtime.remove_sandbox("suite").await.expect("removing nothing");
}

async fn a_life(runtime: &dyn Runtime, container: &ContainerConfig) {
    let id = &container.id;
    let mut events = runtime.events();
    runtime.create_container(container.clone()).await.expect("a container");
    assert!(matches!(runtime.create_container(container.clone()).await, Err(Error::AlreadyExists(_))));
    assert_eq!(runtime.status(id).expect("a status").state, ContainerState::Created);
    assert!(matches!(runtime.exec_sync(id, vec!["true".to_owned()], None).await, Err(Error::State { .. })));
    let started = runtime.start_container(id).await.expect("a start");
    assert!(matches!(runtime.start_container(id).await, Err(Error::State { .. })));
    let running = ContainerState::Running { pid: started.pid, started_at: started.started_at };
    assert_eq!(runtime.status(id).expect("a status").state, running);
    let output = runtime.exec_sync(id, vec!["true".to_owned()], None).await.expect("exec");
    assert_eq!(output.status.code, 0);
    runtime.signal_container(id, 9).await.expect("a signal");
    let exit = exit_of(&mut events, id).await;
    assert_eq!((exit.status.code, exit.status.signal, exit.started_at), (137, Some(9), started.started_at));
    assert_eq!(runtime.status(id).expect("a status").state, ContainerState::Exited(exit));
    runtime.signal_container(id, 15).await.expect("a signal to what has ended");
    assert!(matches!(runtime.start_container(id).await, Err(Error::State { .. })));
    for _ in 0..2 {
        runtime.remove_container(id).await.expect("removal");
        assert_eq!(runtime.status(id), None);
    }
}

async fn the_end_of_a_sandbox(runtime: &dyn Runtime, container: &ContainerConfig) {
    runtime.create_container(container.clone()).await.expect("a container");
    runtime.start_container(&container.id).await.expect("a start");
    for _ in 0..2 {
        runtime.stop_sandbox("suite").await.expect("a stop");
        let status = runtime.list().pop().expect("a sandbox");
        assert_eq!(status.state, SandboxState::NotReady);
        assert!(matches!(status.containers[0].state, ContainerState::Exited(exit) if exit.status.code == 137));
    }
    let another = ContainerConfig { id: "suite-d".to_owned(), ..container.clone() };
    assert!(matches!(runtime.create_container(another).await, Err(Error::Lost(_))));
    runtime.remove_sandbox("suite").await.expect("removal");
    assert_eq!(runtime.list(), []);
}

async fn exit_of(events: &mut Events, wanted: &str) -> Exit {
    let mut started = false;
    loop {
        match events.recv().await.expect("an event") {
            Event::ContainerStarted { id, .. } if id == wanted => started = true,
            Event::ContainerExited { id, exit, .. } if id == wanted => {
                assert!(started, "the exit is told before the start");
                return exit;
            }
            _ => {}
        }
    }
}
