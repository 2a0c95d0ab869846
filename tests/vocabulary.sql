-- A few real OMOP concepts in the shape of the CDM's vocabulary tables.
CREATE SCHEMA cdm;
CREATE TABLE cdm.concept (
    concept_id integer PRIMARY KEY,
    concept_name varchar(255) NOT NULL,
    domain_id varchar(20) NOT NULL,
    vocabulary_id varchar(20) NOT NULL,
    concept_class_id varchar(20) NOT NULL,
    standard_concept varchar(1),
    concept_code varchar(50) NOT NULL,
    valid_start_date date NOT NULL DEFAULT '1970-01-01',
    valid_end_date date NOT NULL DEFAULT '2099-12-31',
    invalid_reason varchar(1)
);
CREATE TABLE cdm.concept_synonym (
    concept_id integer NOT NULL,
    concept_synonym_name varchar(1000) NOT NULL,
    language_concept_id integer NOT NULL DEFAULT 4180186
);
CREATE TABLE cdm.concept_ancestor (
    ancestor_concept_id integer NOT NULL,
    descendant_concept_id integer NOT NULL,
    min_levels_of_separation integer NOT NULL DEFAULT 1,
    max_levels_of_separation integer NOT NULL DEFAULT 1
);
CREATE TABLE cdm.concept_relationship (
    concept_id_1 integer NOT NULL,
    concept_id_2 integer NOT NULL,
    relationship_id varchar(20) NOT NULL,
    valid_start_date date NOT NULL DEFAULT '1970-01-01',
    valid_end_date date NOT NULL DEFAULT '2099-12-31',
    invalid_reason varchar(1)
);
INSERT INTO cdm.concept
    (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept, concept_code, invalid_reason)
VALUES
    (4329847, 'Myocardial infarction', 'Condition', 'SNOMED', 'Clinical Finding', 'S', '22298006', NULL),
    (312327, 'Acute myocardial infarction', 'Condition', 'SNOMED', 'Clinical Finding', 'S', '57054005', NULL),
    (4237458, 'Fracture of clavicle', 'Condition', 'SNOMED', 'Clinical Finding', 'S', '58150001', NULL),
    (320128, 'Essential hypertension', 'Condition', 'SNOMED', 'Clinical Finding', 'S', '59621000', NULL),
    (378253, 'Headache', 'Condition', 'SNOMED', 'Clinical Finding', 'S', '25064002', NULL),
    (1112807, 'aspirin', 'Drug', 'RxNorm', 'Ingredient', 'S', '1191', NULL),
    (1127433, 'acetaminophen 325 MG Oral Tablet', 'Drug', 'RxNorm', 'Clinical Drug', 'S', '313782', NULL),
    (21604254, 'Antihypertensives', 'Drug', 'ATC', 'ATC 2nd', 'C', 'C02', NULL),
    (35207668, 'Acute myocardial infarction', 'Condition', 'ICD10CM', '3-char nonbill code', NULL, 'I21', NULL),
    (45571652, 'Headache, unspecified', 'Condition', 'ICD10CM', '4-char billing code', NULL, 'R51.9', 'D'),
    (3004249, 'Systolic blood pressure', 'Measurement', 'LOINC', 'Clinical Observation', 'S', '8480-6', NULL);
INSERT INTO cdm.concept_synonym (concept_id, concept_synonym_name)
VALUES
    (4329847, 'Heart attack'),
    (4329847, 'Myocardial infarction (disorder)'),
    (4329847, 'Myocardial infarction'),
    (4237458, 'Broken collarbone'),
    (4237458, 'Fracture of collar bone'),
    (320128, 'High blood pressure'),
    (1112807, 'acetylsalicylic acid'),
    (378253, 'Cephalgia');
INSERT INTO cdm.concept_ancestor (ancestor_concept_id, descendant_concept_id)
VALUES (4329847, 4329847), (4329847, 312327), (21604254, 1112807);
INSERT INTO cdm.concept_relationship (concept_id_1, concept_id_2, relationship_id)
VALUES
    (35207668, 312327, 'Maps to'), (312327, 35207668, 'Mapped from'), (312327, 312327, 'Maps to'),
    (45571652, 378253, 'Maps to'), (378253, 45571652, 'Mapped from'), (378253, 378253, 'Maps to');
