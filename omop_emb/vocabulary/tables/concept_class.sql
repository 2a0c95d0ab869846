CREATE TABLE concept_class (
    concept_class_id varchar(20) PRIMARY KEY,
    concept_class_name varchar(255) NOT NULL,
    concept_class_concept_id integer NOT NULL
);
