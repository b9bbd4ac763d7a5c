TRUNCATE TABLE item;
INSERT INTO item (id, name) VALUES (0, 'a'), (1, 'b'), (2, 'it''s');
INSERT INTO item (id, name) VALUES (1, 'again');
SELECT id, name FROM item WHERE id = 1;
SELECT id, name FROM item WHERE id = 2;
SELEC 1;
SELECT * FROM nowhere;
USE other
USE shop
BEGIN;
UPDATE item SET name = 'c' WHERE id = 1;
COMMIT;
BEGIN;
DELETE FROM item;
ROLLBACK;
SHOW TABLES;
CREATE TABLE passing (id INT);
DROP TABLE passing;
PREPARE p FROM 'SELECT name FROM item WHERE id = ?';
SET @id = 1;
EXECUTE p USING @id;
EXECUTE p USING @id;
DEALLOCATE PREPARE p;
SELECT seq, REPEAT('x', 200) FROM seq_1_to_10000;
LOAD DATA LOCAL INFILE 'cli.tsv' INTO TABLE item (id, name);
DELIMITER //
SELECT 1; SELECT 2; DELETE FROM item WHERE id = 0//
