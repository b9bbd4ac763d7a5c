TRUNCATE TABLE item;
INSERT INTO item (id, name) VALUES (0, 'a'), (1, 'b'), (2, 'it''s');
INSERT INTO item (id, name) VALUES (1, 'again');
SELECT id, name FROM item WHERE id = 1;
SELECT id, name FROM item WHERE id = 2;
SELEC 1;
SELECT * FROM nowhere;
BEGIN;
UPDATE item SET name = 'c' WHERE id = 1;
COMMIT;
BEGIN;
DELETE FROM item;
ROLLBACK;
CREATE TEMPORARY TABLE passing (id int);
DROP TABLE passing;
PREPARE p (int) AS SELECT name FROM item WHERE id = $1;
EXECUTE p (1);
EXECUTE p (1);
DEALLOCATE p;
SELECT at, repeat('x', 200) FROM generate_series(1, 10000) AS at;
\copy item (id, name) from 'cli.tsv'
\copy item to 'out.tsv'
SELECT id FROM item \gdesc
SELECT 1 \; SELECT 2 \; DELETE FROM item WHERE id = 0;
DO $$ BEGIN RAISE NOTICE 'hello'; END $$;
EXPLAIN SELECT * FROM item;
SHOW server_version;
