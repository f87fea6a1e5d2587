//! Scopes: bodies of containers open, end, fail and are stopped.

use std::sync::Arc;

use super::{Container, EdgeState, Flow, Instance, NodeState, WorkflowMachine, container_of, join};
use crate::domain::{Action, Close, EventData, Finish, ItemEnd, Place};
use crate::error::ErrorInfo;
use crate::workflow::task::Task;

impl WorkflowMachine {
    /// Opens a scope at a path and begins the nodes it starts with.
    pub(super) fn open_scope(&mut self, path: String, scope: usize, flow: &mut Flow) {
        let plan = Arc::clone(&self.plan);
        let spec = &plan.scopes[scope];
        let mut instance = Instance {
            scope,
            nodes: vec![NodeState::Idle; spec.nodes.len()],
            edges: vec![EdgeState::Open; self.layout.widths[scope]],
            undecided: spec.nodes.len(),
            active: 0,
            failure: None,
            stopping: false,
        };
        // What nothing leads to never runs, and nothing waits for it.
        let never = |node: &&usize| !plan.nodes[**node].reachable || plan.handler == Some(**node);
        for node in spec.nodes.iter().filter(never) {
            instance.nodes[self.layout.nodes[*node]] = NodeState::Decided;
            instance.undecided -= 1;
            for edge in plan.nodes[*node].outgoing.iter().flat_map(|(_, edges)| edges) {
                instance.edges[self.layout.edges[*edge]] = EdgeState::Skipped;
            }
        }
        self.control.instances.insert(path.clone(), instance);
        for node in &spec.starts {
            self.begin(&path, *node, flow);
        }
        flow.touched.push_back(path);
    }

    /// A container's node was evaluated: its bodies begin.
    pub(super) fn entered(&mut self, key: &str, items: u64, flow: &mut Flow) {
        let Some(place) = self.close_node(key) else { return };
        let container = Container { place, total: items, next: 0, live: 0, failed: 0, failure: None, stopping: false };
        self.control.containers.insert(key.to_owned(), container);
        self.go_on(key, flow);
    }

    /// Begins the items that may run now; closes the container where none is left.
    fn go_on(&mut self, key: &str, flow: &mut Flow) {
        let plan = Arc::clone(&self.plan);
        loop {
            let Some(container) = self.control.containers.get_mut(key) else { return };
            let node = &plan.nodes[container.place.node];
            let wide = match &node.task {
                Task::Map(map) => u64::from(map.concurrency.unwrap_or(plan.limits.max_parallel).max(1)),
                _ => 1,
            };
            if container.stopping || container.next >= container.total || container.live >= wide {
                break;
            }
            let index = container.next;
            container.next += 1;
            container.live += 1;
            let path = if matches!(node.task, Task::Parallel) {
                key.to_owned()
            } else {
                let data = EventData::ItemStarted { node: node.id.clone(), index };
                let path = join(key, &index.to_string());
                flow.actions.push(Action::Emit { path: path.clone(), data: Box::new(data) });
                path
            };
            if let Some(scope) = node.body {
                self.open_scope(path, scope, flow);
            }
        }
        self.close_when_idle(key, Close::Done, flow);
    }

    /// Closes a container in which nothing runs and nothing is left to begin.
    fn close_when_idle(&mut self, key: &str, close: Close, flow: &mut Flow) {
        let Some(container) = self.control.containers.get(key) else { return };
        let over = container.stopping || container.next >= container.total;
        if container.live > 0 || !over || self.control.open.contains_key(key) {
            return;
        }
        let close = match &container.failure {
            Some(error) => Close::Failed(error.clone()),
            None if container.stopping => Close::Cancelled,
            None => close,
        };
        let place = container.place.clone();
        self.give(flow, Action::CloseNode { place, close });
    }

    /// Sees whether a scope has come to its end, and says so.
    pub(super) fn look_for_end(&mut self, path: &str, flow: &mut Flow) {
        let Some(instance) = self.control.instances.get(path) else { return };
        if instance.active > 0 || (instance.undecided > 0 && !instance.stopping) {
            return;
        }
        let close = match &instance.failure {
            Some(error) => Close::Failed(error.clone()),
            None if instance.stopping => Close::Cancelled,
            None => Close::Done,
        };
        if path.is_empty() {
            self.root_ended(close, flow);
            return;
        }
        if self.control.open.contains_key(path) {
            return;
        }
        if container_of(path).1.is_some() {
            self.give(flow, Action::CloseItem { path: path.to_owned(), close });
            return;
        }
        self.control.instances.remove(path);
        if let Some(container) = self.control.containers.get_mut(path) {
            container.live = 0;
            match &close {
                Close::Failed(error) => container.failure = Some(error.clone()),
                Close::Cancelled => container.stopping = true,
                _ => {}
            }
        }
        self.close_when_idle(path, Close::Done, flow);
    }

    fn root_ended(&mut self, close: Close, flow: &mut Flow) {
        let Close::Failed(error) = close else {
            if !self.control.open.contains_key("") {
                self.give(flow, Action::Conclude);
            }
            return;
        };
        let handler = self.plan.handler.filter(|_| !self.control.handler_begun);
        match handler {
            Some(node) => {
                self.control.handler_begun = true;
                if let Some(instance) = self.control.instances.get_mut("") {
                    instance.nodes[self.layout.nodes[node]] = NodeState::Active;
                    instance.active += 1;
                    instance.undecided += 1;
                }
                let key = self.plan.nodes[node].id.clone();
                self.give(flow, Action::RunNode(Place { key, path: String::new(), node }));
            }
            None => flow.actions.extend(self.finish(Finish::Failed { error })),
        }
    }

    /// One item or round has ended, and its record is written.
    pub(super) fn item_ended(&mut self, path: &str, end: ItemEnd<'_>, flow: &mut Flow) {
        if self.control.open.remove(path).is_none() {
            return;
        }
        self.control.instances.remove(path);
        let key = container_of(path).0;
        let plan = Arc::clone(&self.plan);
        let Some(container) = self.control.containers.get_mut(key) else { return };
        container.live -= 1;
        let task = &plan.nodes[container.place.node].task;
        let mut close = Close::Done;
        match (end, task) {
            (ItemEnd::Failed(error), Task::Map(map)) => {
                container.failed += 1;
                if map.fail.exceeded(container.failed, container.total) && container.failure.is_none() {
                    self.fail_container(key, error, flow);
                }
            }
            (ItemEnd::Failed(error), _) => self.fail_container(key, error, flow),
            (ItemEnd::Done { last: true }, Task::Loop(_)) => container.total = container.next,
            (ItemEnd::Done { last: false }, Task::Loop(rounds))
                if container.next >= container.total && rounds.until.is_some() =>
            {
                close = Close::Capped;
            }
            _ => {}
        }
        match close {
            Close::Capped => self.close_when_idle(key, close, flow),
            _ => self.go_on(key, flow),
        }
    }

    /// A container fails as a whole, unless it comes to its end anyway.
    pub(super) fn broken(&mut self, key: &str, error: &ErrorInfo, flow: &mut Flow) {
        let runs = self.control.containers.get(key).is_some_and(|container| !container.stopping);
        if runs && !self.control.open.contains_key(key) {
            self.fail_container(key, error, flow);
        }
    }

    fn fail_container(&mut self, key: &str, error: &ErrorInfo, flow: &mut Flow) {
        if let Some(container) = self.control.containers.get_mut(key) {
            container.failure.get_or_insert_with(|| error.clone());
        }
        self.stop_container(key, flow);
    }

    /// Begins nothing more in a container and stops what runs in it.
    fn stop_container(&mut self, key: &str, flow: &mut Flow) {
        let Some(container) = self.control.containers.get_mut(key) else { return };
        container.stopping = true;
        let below = format!("{key}/");
        let inside = |path: &&String| path.starts_with(&below) || *path == key;
        let paths: Vec<String> = self.control.instances.keys().filter(inside).cloned().collect();
        for path in paths {
            self.stop_scope(&path, flow);
        }
        self.close_when_idle(key, Close::Cancelled, flow);
    }

    /// A scope fails: what runs in it is stopped, the first error stays.
    pub(super) fn fail_scope(&mut self, path: &str, error: &ErrorInfo, flow: &mut Flow) {
        let Some(instance) = self.control.instances.get_mut(path) else { return };
        instance.failure.get_or_insert_with(|| error.clone());
        self.stop_scope(path, flow);
    }

    /// Begins nothing more in one scope, and stops what runs in it and below.
    fn stop_scope(&mut self, path: &str, flow: &mut Flow) {
        let Some(instance) = self.control.instances.get_mut(path) else { return };
        if !std::mem::replace(&mut instance.stopping, true) {
            let scope = instance.scope;
            let plan = Arc::clone(&self.plan);
            for node in &plan.scopes[scope].nodes {
                let active = self
                    .control
                    .instances
                    .get(path)
                    .is_some_and(|instance| instance.nodes[self.layout.nodes[*node]] == NodeState::Active);
                if active {
                    self.stop_node(&join(path, &plan.nodes[*node].id), flow);
                }
            }
        }
        flow.touched.push_back(path.to_owned());
    }

    /// Stops a node that runs: a container from inside, any other by its driver.
    pub(super) fn stop_node(&mut self, key: &str, flow: &mut Flow) {
        if self.control.containers.contains_key(key) {
            self.stop_container(key, flow);
        } else if let Some(Action::RunNode(place)) = self.control.open.get(key) {
            let place = place.clone();
            self.give(flow, Action::CancelNode(place));
        }
    }
}
