CREATE TABLE vocabulary (
    vocabulary_id varchar(20) PRIMARY KEY,
    vocabulary_name varchar(255) NOT NULL,
    vocabulary_reference varchar(255),
    vocabulary_version varchar(255),
    vocabulary_concept_id integer NOT NULL
);
