CREATE TABLE domain (
    domain_id varchar(20) PRIMARY KEY,
    domain_name varchar(255) NOT NULL,
    domain_concept_id integer NOT NULL
);
