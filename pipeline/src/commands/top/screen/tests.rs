//! What is on the screen, letter by letter.

use super::draw;
use crate::commands::top::state::{Answer, Call, Health, State};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::style::Color;
use redtap::reports::{
    EndpointRow, Node, NodeKind, Range, Red, RedOverTime, ServiceReport, ServiceRow, Services, SideReport, Topology,
    TopologyEdge,
};

const RANGE: Range = Range { from: 0, to: 60, step: 5 };

fn red(rate: f64, errors: f64, p50: f64) -> Red {
    Red {
        requests: rate * 60.0,
        requests_per_second: rate,
        error_ratio: Some(errors),
        p50_seconds: Some(p50),
        p90_seconds: Some(p50 * 2.0),
        p99_seconds: Some(p50 * 10.0),
    }
}

fn service(name: &str, protocols: &[&str], served: Option<Red>, called: Option<Red>) -> ServiceRow {
    ServiceRow {
        service: name.to_owned(),
        namespace: String::new(),
        protocols: protocols.iter().map(|name| (*name).to_owned()).collect(),
        served,
        called,
        over_time: RedOverTime::default(),
    }
}

fn health() -> Health {
    Health { rung: "socket".to_owned(), seen: 100_000, lost: 1, sampling: 1.0 }
}

fn services() -> Answer {
    let services = vec![
        service("payment", &["http", "redis"], Some(red(3.52, 0.104, 0.091)), None),
        service("shop", &["http", "grpc", "redis", "dns"], Some(red(14.2, 0.021, 0.004)), Some(red(40.0, 0.0, 0.001))),
        service("cache", &["redis"], Some(red(1_234.5, 0.0, 0.000_021)), None),
        service("visitors", &["http"], None, Some(Red { error_ratio: None, ..red(14.2, 0.0, 0.004) })),
    ];
    Answer::Services(health(), Services { range: RANGE, services })
}

fn endpoint(method: &str, endpoint: &str, peer: &str, red: Red) -> EndpointRow {
    EndpointRow {
        kind: "http".to_owned(),
        system: String::new(),
        method: method.to_owned(),
        endpoint: endpoint.to_owned(),
        peer: peer.to_owned(),
        red,
    }
}

fn side(endpoints: Vec<EndpointRow>) -> SideReport {
    SideReport {
        red: Red::default(),
        over_time: RedOverTime::default(),
        heat_map: redtap::reports::HeatMap::default(),
        endpoints,
        more_endpoints: 0,
    }
}

fn shop() -> Answer {
    let report = ServiceReport {
        range: RANGE,
        service: "shop".to_owned(),
        namespace: String::new(),
        served: Some(side(vec![
            endpoint("POST", "/orders", "", red(4.0, 0.1, 0.12)),
            endpoint("GET", "/products/{id}", "", red(9.1, 0.0, 0.002)),
        ])),
        called: Some(side(vec![endpoint("POST", "/charges", "payment", red(4.0, 0.1, 0.1))])),
        codes: Vec::new(),
    };
    Answer::Service(health(), "shop".to_owned(), Some(report))
}

fn topology() -> Answer {
    let edge = |client: &str, server: &str, kind: &str, red| TopologyEdge {
        client: client.to_owned(),
        server: server.to_owned(),
        connection_type: kind.to_owned(),
        red,
    };
    let edges = vec![
        edge("shop", "cache", "database", red(20.0, 0.0, 0.000_05)),
        edge("visitors", "shop", "", red(14.2, 0.021, 0.004)),
    ];
    let nodes = vec![Node { name: "shop".to_owned(), kind: NodeKind::Service, red: None }];
    Answer::Topology(health(), Topology { range: RANGE, nodes, edges })
}

fn calls() -> Answer {
    let lines = [
        r#"{"start_ns":1700000000123000000,"duration_ns":1250000,"protocol":"http","client":"127.0.0.1:4","server":"127.0.0.1:80","method":"GET","target":"/a\u001b[2J","status":"ok","code":"200","role":"server","service":"shop","peer":"visitors","error":""}"#,
        r#"{"start_ns":1700000001000000000,"duration_ns":null,"protocol":"redis","client":"127.0.0.1:4","server":"127.0.0.1:6379","method":"GET","target":"","status":"none","code":"","role":"client","service":"shop","peer":"","error":"timeout"}"#,
    ];
    let calls = lines.iter().map(|line| Call::read(&serde_json::from_str(line).unwrap())).collect();
    Answer::Calls(health(), calls)
}

fn state() -> State {
    State::new("127.0.0.1:9464".to_owned(), 60, false)
}

fn press(state: &mut State, keys: &str) {
    for key in keys.chars() {
        state.press(KeyCode::Char(key), KeyModifiers::NONE);
    }
}

fn terminal(state: &State, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal
}

/// The lines, without blanks at their ends.
fn lines(state: &State, width: u16, height: u16) -> Vec<String> {
    let terminal = terminal(state, width, height);
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn services_at_the_usual_size() {
    let mut state = state();
    state.take(services());
    assert_eq!(
        lines(&state, 80, 9),
        [
            "redtap top  127.0.0.1:9464  last 1m  rung socket  captured 99.99%",
            "[1 Services] 2 Endpoints  3 Edges  4 Calls",
            "   SERVICE          side   protocols        req/s errors     p50     p90     p99",
            ">! payment          serves http redis         3.5  10.4%  91.0ms 182.0ms 910.0ms",
            " ~ shop             serves http grpc redi    14.2   2.1%   4.0ms   8.0ms  40.0ms",
            "   cache            serves redis             1234   0.0%  21.0us  42.0us 210.0us",
            "   visitors         calls  http              14.2      -   4.0ms   8.0ms  40.0ms",
            "",
            "/ filter  s sort  r turn  Enter endpoints  p pause  ? help  q quit",
        ]
    );
}

#[test]
fn services_where_there_is_little_room() {
    let mut state = state();
    state.take(services());
    assert_eq!(
        lines(&state, 40, 10),
        [
            "redtap top  127.0.0.1:9464  last 1m",
            "[1 Services] 2  3  4",
            "   SERVICE          req/s errors     p99",
            ">! payment            3.5  10.4% 910.0ms",
            " ~ shop              14.2   2.1%  40.0ms",
            "   cache             1234   0.0% 210.0us",
            "   visitors          14.2      -  40.0ms",
            "",
            "",
            "/ filter  s sort  ? help  q quit",
        ]
    );
}

#[test]
fn no_size_is_too_small() {
    let mut state = state();
    state.take(services());
    for width in 1..30 {
        for height in 1..6 {
            drop(lines(&state, width, height));
        }
    }
}

#[test]
fn endpoints_of_the_chosen_service_both_sides() {
    let mut state = state();
    state.take(services());
    press(&mut state, "j2");
    assert_eq!(state.wish().service.as_deref(), Some("shop"));
    assert_eq!(lines(&state, 80, 5)[2], "waiting for the first numbers");
    state.take(shop());
    let shown = lines(&state, 80, 8);
    assert_eq!(shown[1], " 1 Services [2 Endpoints of shop] 3 Edges  4 Calls");
    assert_eq!(
        shown[2..6],
        [
            "   ENDPOINT             side   peer         req/s errors     p50     p90     p99",
            ">! POST /orders         serves                4.0  10.0% 120.0ms 240.0ms    1.2s",
            "   GET /products/{id}   serves                9.1   0.0%   2.0ms   4.0ms  20.0ms",
            " ! POST /charges        calls  payment        4.0  10.0% 100.0ms 200.0ms    1.0s",
        ]
    );
    // An answer of before is not shown.
    state.take(services());
    assert_eq!(lines(&state, 80, 8)[2..6], shown[2..6]);
}

#[test]
fn edges_and_calls() {
    let mut state = state();
    press(&mut state, "3");
    state.take(topology());
    assert_eq!(
        lines(&state, 80, 6)[3..5].concat().split_whitespace().collect::<Vec<_>>()[..4],
        [">", "shop", "cache", "database"]
    );
    press(&mut state, "4");
    state.take(calls());
    let shown = lines(&state, 80, 6);
    assert_eq!(
        shown[2..5],
        [
            "   TIME UTC     service      peer      what                     code        took",
            ">! 22:13:21.000 shop      -> 127.0.0.1 GET                      timeout        -",
            "   22:13:20.123 shop      <- visitors  GET /a?[2J               200        1.2ms",
        ],
        "newest first; nothing that the terminal would obey"
    );
}

#[test]
fn sorts_filters_turns_and_holds_still() {
    let mut state = state();
    state.take(services());
    let first = |state: &State| lines(state, 80, 9)[3].split_whitespace().nth(1).unwrap_or_default().to_owned();
    // The fourth column.
    press(&mut state, "ssss");
    assert!(lines(&state, 80, 9)[2].contains("req/s*"));
    assert_eq!(first(&state), "cache");
    press(&mut state, "r");
    assert!(lines(&state, 80, 9)[2].contains("req/s^"));
    assert!(lines(&state, 80, 9)[3].contains("payment"));
    press(&mut state, "/GRPC");
    let shown = lines(&state, 80, 9);
    assert!(shown[3].contains("shop") && shown[4].is_empty() && shown[8].starts_with("filter: GRPC_"), "{shown:?}");
    press(&mut state, "x");
    assert!(lines(&state, 80, 9)[2].starts_with("no row holds this filter"));
    state.press(KeyCode::Esc, KeyModifiers::NONE);
    press(&mut state, "p");
    state.take(Answer::Services(health(), Services { range: RANGE, services: Vec::new() }));
    let shown = lines(&state, 80, 9);
    assert!(shown[0].ends_with("PAUSED") && shown[3].contains("payment"), "{shown:?}");
    press(&mut state, "q");
    assert!(state.quit);
}

#[test]
fn says_what_is_wrong_and_what_to_do() {
    let mut state = state();
    state.take(Answer::Failed("no agent answers at 127.0.0.1:9464: start one with `redtap run`".to_owned()));
    assert!(lines(&state, 80, 9)[2].starts_with("! no agent answers"));
    state
        .take(Answer::Services(Health { sampling: 0.25, ..health() }, Services { range: RANGE, services: Vec::new() }));
    let shown = lines(&state, 80, 9);
    assert!(shown[0].ends_with("SAMPLED 25%"), "{}", shown[0]);
    assert!(shown[2].starts_with("no request seen in this time"), "{}", shown[2]);
    // Old numbers stay where they are.
    state.take(services());
    state.take(Answer::Failed("the agent does not answer".to_owned()));
    let shown = lines(&state, 80, 12);
    assert!(shown[2].starts_with("! the agent") && shown[5].contains("payment"), "{shown:?}");
    press(&mut state, "?");
    assert!(lines(&state, 80, 24).iter().any(|line| line.contains("share that failed")));
    // All of it at 80 by 24 and by 20.
    assert!(lines(&state, 80, 20).iter().any(|line| line.contains("> the chosen row")));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let of = |colours| {
        let mut state = State::new("127.0.0.1:9464".to_owned(), 60, colours);
        state.take(services());
        let terminal = terminal(&state, 80, 9);
        terminal.backend().buffer().content().iter().filter(|cell| cell.fg != Color::Reset).count()
    };
    assert_eq!(of(false), 0);
    assert!(of(true) > 100);
}
