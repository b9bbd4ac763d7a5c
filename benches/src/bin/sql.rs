//! Question: what does one statement cost to summarise, and to mask?
//!
//! Claim: under a microsecond for 200 bytes to summarise, which every statement pays; masking is paid only by who watches.
//!
//! Statements of applications, read again and again. Processor time; medians over the rounds.
//!
//! `cargo run --release -p redtap-benches --bin sql [ROUNDS]`

use anyhow::Result;
use redtap_e2e::stopwatch::{measure, median};
use redtap_stages::limits::{MAX_TARGET, SQL_SUMMARY};
use redtap_stages::sql::{Dialect, mask, summarize};
use std::hint::black_box;

/// Measured rounds, unless told.
const ROUNDS: usize = 7;
/// Times a statement is read in a round.
const TIMES: u64 = 100_000;

/// Dialect, what it is, the statement.
const STATEMENTS: &[(Dialect, &str, &str)] = &[
    (Dialect::Mysql, "point select", "SELECT c FROM sbtest1 WHERE id=5013"),
    (
        Dialect::Mysql,
        "joined select",
        "SELECT `auth_user`.`id`, `auth_user`.`last_login`, `auth_user`.`is_superuser` FROM `auth_user` JOIN `g` ON \
         g.id = auth_user.gid WHERE `auth_user`.`username` = 'bob' AND x IN (1, 2, 3) LIMIT 21",
    ),
    (
        Dialect::Postgres,
        "insert of three rows",
        "INSERT INTO orders (id, customer, total, note) VALUES (17, 'ann', 12.50, 'please ring twice'), (18, 'bob', 7.25, \
         NULL), (19, 'carol', 99.99, 'leave it at the door, thanks')",
    ),
    (
        Dialect::Postgres,
        "with and subquery",
        "WITH recent AS (SELECT id, customer FROM orders WHERE at > now() - interval '1 day') SELECT c.name, count(*) FROM \
         recent r JOIN customers c ON c.id = r.customer WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = r.id AND \
         i.price > 10.5) GROUP BY c.name HAVING count(*) > 3 ORDER BY 2 DESC, 1 LIMIT 50",
    ),
];

#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    println!("{:24} {:>6} {:>14} {:>10}", "statement", "bytes", "summarise ns", "mask ns");
    for (dialect, what, sql) in STATEMENTS {
        let sql = sql.as_bytes();
        let mut room = [0; SQL_SUMMARY];
        let mut wide = [0; MAX_TARGET];
        let each = |work: &mut dyn FnMut()| {
            let spent = (0..=rounds).map(|_| measure(|| (0..TIMES).for_each(|_| work())).1.cpu).skip(1);
            median(spent.collect()) as f64 / TIMES as f64
        };
        let summarised = each(&mut || {
            black_box(summarize(*dialect, black_box(sql), false, &mut room));
        });
        let masked = each(&mut || {
            black_box(mask(*dialect, black_box(sql), &mut wide));
        });
        println!("{what:24} {:>6} {summarised:>14.1} {masked:>10.1}", sql.len());
    }
    Ok(())
}
