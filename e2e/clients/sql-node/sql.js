// SQL clients in JavaScript: `sql.js KIND PORT PASSWORD`. The user is named after the kind, so that the server counts it apart.
//
// What each kind sends is written out in `e2e/src/clients/{mysql,postgres}.rs`; change both.
'use strict';
const assert = require('node:assert');
const [, , kind, port, password] = process.argv;
const address = { host: '127.0.0.1', port: Number(port), user: kind, password, database: 'shop' };

async function refused(code, call) {
  await assert.rejects(call, (error) => (error.errno ?? error.code) === code);
}

async function mysql2() {
  const driver = require('mysql2/promise');
  const connection = await driver.createConnection({ ...address, multipleStatements: true });
  await connection.query('TRUNCATE TABLE item');
  for (let at = 0; at < 20; at++) {
    await connection.query('INSERT INTO item (id, name) VALUES (?, ?)', [at, `name'${at}`]);
  }
  for (let at = 0; at < 30; at++) {
    const [rows] = await connection.query('SELECT id, name FROM item WHERE id = ?', [at % 20]);
    assert.equal(rows.length, 1);
  }
  // Prepared once each, then executed.
  for (let at = 0; at < 25; at++) {
    const [rows] = await connection.execute('SELECT name FROM item WHERE id = ?', [at % 20]);
    assert.equal(rows.length, 1);
  }
  for (let at = 0; at < 10; at++) {
    await connection.execute('UPDATE item SET name = ? WHERE id = ?', ['other', at]);
  }
  await connection.execute('INSERT INTO item (id, name) VALUES (?, ?)', [100, 'a']);
  await refused(1062, connection.execute('INSERT INTO item (id, name) VALUES (?, ?)', [100, 'b']));
  await refused(1062, connection.query("INSERT INTO item (id, name) VALUES (7, 'again')"));
  await refused(1064, connection.query('SELECT FROM WHERE'));
  await refused(1146, connection.query('SELECT * FROM nowhere'));
  // Refused when it is prepared, so never executed.
  await refused(1146, connection.execute('SELECT * FROM nowhere WHERE id = ?', [1]));
  await connection.beginTransaction();
  await connection.query('DELETE FROM item WHERE id = 1');
  await connection.rollback();
  await connection.beginTransaction();
  await connection.query('DELETE FROM item WHERE id = 2');
  await connection.commit();
  for (let at = 0; at < 3; at++) await connection.ping();
  const [rows] = await connection.query("SELECT seq, REPEAT('x', 200) FROM seq_1_to_10000");
  assert.equal(rows.length, 10000);
  const [wide] = await connection.execute("SELECT seq, REPEAT('x', 200) FROM seq_1_to_10000");
  assert.equal(wide.length, 10000);
  const [sets] = await connection.query("SELECT 1; UPDATE item SET name = 'c' WHERE id = 100; SELECT 2");
  assert.equal(sets.length, 3);
  // Sent one after the other without waiting; the driver holds them back until the answer is there.
  await Promise.all([...Array(15).keys()].map((at) => connection.query('SELECT name FROM item WHERE id = ?', [at])));
  connection.unprepare('SELECT name FROM item WHERE id = ?');
  await connection.changeUser({ database: 'shop' });
  await connection.end();
}

async function pg() {
  const { Client } = require('pg');
  const client = new Client(address);
  await client.connect();
  // Text alone: the simple protocol.
  await client.query('TRUNCATE TABLE item');
  for (let at = 0; at < 20; at++) await client.query(`INSERT INTO item (id, name) VALUES (${at}, 'name''${at}')`);
  // With values: an unnamed statement each.
  for (let at = 0; at < 30; at++) {
    const { rows } = await client.query('SELECT id, name FROM item WHERE id = $1', [at % 20]);
    assert.equal(rows.length, 1);
  }
  // Named: parsed once.
  for (let at = 0; at < 25; at++) {
    const { rows } = await client.query({ name: 'by id', text: 'SELECT name FROM item WHERE id = $1', values: [at % 20] });
    assert.equal(rows.length, 1);
  }
  for (let at = 0; at < 10; at++) {
    await client.query({ name: 'rename', text: 'UPDATE item SET name = $1 WHERE id = $2', values: ['other', at] });
  }
  await refused('23505', client.query("INSERT INTO item (id, name) VALUES (7, 'again')"));
  await refused('23505', client.query('INSERT INTO item (id, name) VALUES ($1, $2)', [7, 'again']));
  await refused('42601', client.query('SELECT FROM WHERE'));
  await refused('42P01', client.query('SELECT * FROM nowhere WHERE id = $1', [1]));
  await client.query('BEGIN');
  await client.query('DELETE FROM item WHERE id = $1', [1]);
  await client.query('ROLLBACK');
  await client.query('BEGIN');
  await client.query('DELETE FROM item WHERE id = $1', [2]);
  await client.query('COMMIT');
  const { rows } = await client.query("SELECT at, repeat('x', 200) FROM generate_series(1, 10000) AS at");
  assert.equal(rows.length, 10000);
  const sets = await client.query("SELECT 1; UPDATE item SET name = 'c' WHERE id = 3; SELECT 2");
  assert.equal(sets.length, 3);
  // Through a portal, in three parts.
  const { rows: portal } = await client.query({ text: 'SELECT at FROM generate_series(1, $1::int) AS at', values: [250], rows: 100 });
  assert.equal(portal.length, 250);
  await client.query('');
  await client.end();
}

({ mysql2, pg })[kind]().catch((error) => { console.error(error); process.exit(1); });
