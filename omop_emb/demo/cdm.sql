-- The OMOP Common Data Model 5.4 tables that the sample data fills, apart from the vocabulary's.
-- Names are unqualified: search_path decides the schema.
-- Three event tables have no primary key: the sample repeats their ids.

-- Persons and their events

CREATE TABLE person (
    person_id integer PRIMARY KEY,
    gender_concept_id integer NOT NULL,
    year_of_birth integer NOT NULL,
    month_of_birth integer,
    day_of_birth integer,
    birth_datetime timestamp,
    race_concept_id integer NOT NULL,
    ethnicity_concept_id integer NOT NULL,
    location_id integer,
    provider_id integer,
    care_site_id integer,
    person_source_value varchar(50),
    gender_source_value varchar(50),
    gender_source_concept_id integer,
    race_source_value varchar(50),
    race_source_concept_id integer,
    ethnicity_source_value varchar(50),
    ethnicity_source_concept_id integer
);

CREATE TABLE observation_period (
    observation_period_id integer PRIMARY KEY,
    person_id integer NOT NULL,
    observation_period_start_date date NOT NULL,
    observation_period_end_date date NOT NULL,
    period_type_concept_id integer NOT NULL
);

CREATE TABLE death (
    person_id integer NOT NULL,
    death_date date NOT NULL,
    death_datetime timestamp,
    death_type_concept_id integer,
    cause_concept_id integer,
    cause_source_value varchar(50),
    cause_source_concept_id integer
);

CREATE TABLE visit_occurrence (
    visit_occurrence_id integer PRIMARY KEY,
    person_id integer NOT NULL,
    visit_concept_id integer NOT NULL,
    visit_start_date date NOT NULL,
    visit_start_datetime timestamp,
    visit_end_date date NOT NULL,
    visit_end_datetime timestamp,
    visit_type_concept_id integer NOT NULL,
    provider_id integer,
    care_site_id integer,
    visit_source_value varchar(50),
    visit_source_concept_id integer,
    admitted_from_concept_id integer,
    admitted_from_source_value varchar(50),
    discharged_to_concept_id integer,
    discharged_to_source_value varchar(50),
    preceding_visit_occurrence_id integer
);

CREATE TABLE condition_occurrence (
    condition_occurrence_id integer PRIMARY KEY,
    person_id integer NOT NULL,
    condition_concept_id integer NOT NULL,
    condition_start_date date NOT NULL,
    condition_start_datetime timestamp,
    condition_end_date date,
    condition_end_datetime timestamp,
    condition_type_concept_id integer NOT NULL,
    condition_status_concept_id integer,
    stop_reason varchar(20),
    provider_id integer,
    visit_occurrence_id integer,
    visit_detail_id integer,
    condition_source_value varchar(50),
    condition_source_concept_id integer,
    condition_status_source_value varchar(50)
);

CREATE TABLE drug_exposure (
    drug_exposure_id integer NOT NULL,
    person_id integer NOT NULL,
    drug_concept_id integer NOT NULL,
    drug_exposure_start_date date NOT NULL,
    drug_exposure_start_datetime timestamp,
    drug_exposure_end_date date NOT NULL,
    drug_exposure_end_datetime timestamp,
    verbatim_end_date date,
    drug_type_concept_id integer NOT NULL,
    stop_reason varchar(20),
    refills integer,
    quantity numeric,
    days_supply integer,
    sig text,
    route_concept_id integer,
    lot_number varchar(50),
    provider_id integer,
    visit_occurrence_id integer,
    visit_detail_id integer,
    drug_source_value varchar(50),
    drug_source_concept_id integer,
    route_source_value varchar(50),
    dose_unit_source_value varchar(50)
);

CREATE TABLE procedure_occurrence (
    procedure_occurrence_id integer PRIMARY KEY,
    person_id integer NOT NULL,
    procedure_concept_id integer NOT NULL,
    procedure_date date NOT NULL,
    procedure_datetime timestamp,
    procedure_end_date date,
    procedure_end_datetime timestamp,
    procedure_type_concept_id integer NOT NULL,
    modifier_concept_id integer,
    quantity integer,
    provider_id integer,
    visit_occurrence_id integer,
    visit_detail_id integer,
    procedure_source_value varchar(50),
    procedure_source_concept_id integer,
    modifier_source_value varchar(50)
);

CREATE TABLE measurement (
    measurement_id integer NOT NULL,
    person_id integer NOT NULL,
    measurement_concept_id integer NOT NULL,
    measurement_date date NOT NULL,
    measurement_datetime timestamp,
    measurement_time varchar(10),
    measurement_type_concept_id integer NOT NULL,
    operator_concept_id integer,
    value_as_number numeric,
    value_as_concept_id integer,
    unit_concept_id integer,
    range_low numeric,
    range_high numeric,
    provider_id integer,
    visit_occurrence_id integer,
    visit_detail_id integer,
    measurement_source_value varchar(50),
    measurement_source_concept_id integer,
    unit_source_value varchar(50),
    unit_source_concept_id integer,
    value_source_value varchar(50),
    measurement_event_id integer,
    meas_event_field_concept_id integer
);

CREATE TABLE observation (
    observation_id integer NOT NULL,
    person_id integer NOT NULL,
    observation_concept_id integer NOT NULL,
    observation_date date NOT NULL,
    observation_datetime timestamp,
    observation_type_concept_id integer NOT NULL,
    value_as_number numeric,
    value_as_string varchar(60),
    value_as_concept_id integer,
    qualifier_concept_id integer,
    unit_concept_id integer,
    provider_id integer,
    visit_occurrence_id integer,
    visit_detail_id integer,
    observation_source_value varchar(50),
    observation_source_concept_id integer,
    unit_source_value varchar(50),
    qualifier_source_value varchar(50),
    value_source_value varchar(50),
    observation_event_id integer,
    obs_event_field_concept_id integer
);

-- Derived elements and metadata

CREATE TABLE condition_era (
    condition_era_id integer PRIMARY KEY,
    person_id integer NOT NULL,
    condition_concept_id integer NOT NULL,
    condition_era_start_date date NOT NULL,
    condition_era_end_date date NOT NULL,
    condition_occurrence_count integer
);

CREATE TABLE drug_era (
    drug_era_id integer PRIMARY KEY,
    person_id integer NOT NULL,
    drug_concept_id integer NOT NULL,
    drug_era_start_date date NOT NULL,
    drug_era_end_date date NOT NULL,
    drug_exposure_count integer,
    gap_days integer
);

-- 5.4 demands cdm_version_concept_id, which the sample, written for 5.3, does not have.
CREATE TABLE cdm_source (
    cdm_source_name varchar(255) NOT NULL,
    cdm_source_abbreviation varchar(25) NOT NULL,
    cdm_holder varchar(255) NOT NULL,
    source_description text,
    source_documentation_reference varchar(255),
    cdm_etl_reference varchar(255),
    source_release_date date NOT NULL,
    cdm_release_date date NOT NULL,
    cdm_version varchar(10),
    cdm_version_concept_id integer,
    vocabulary_version varchar(20) NOT NULL
);

-- Indexes

CREATE INDEX idx_concept_code ON concept (concept_code);
CREATE INDEX idx_concept_vocabulary_id ON concept (vocabulary_id);
CREATE INDEX idx_concept_domain_id ON concept (domain_id);
CREATE INDEX idx_concept_class_id ON concept (concept_class_id);
CREATE INDEX idx_concept_relationship_id_1 ON concept_relationship (concept_id_1);
CREATE INDEX idx_concept_relationship_id_2 ON concept_relationship (concept_id_2);
CREATE INDEX idx_concept_relationship_id_3 ON concept_relationship (relationship_id);
CREATE INDEX idx_concept_synonym_id ON concept_synonym (concept_id);
CREATE INDEX idx_concept_ancestor_id_1 ON concept_ancestor (ancestor_concept_id);
CREATE INDEX idx_concept_ancestor_id_2 ON concept_ancestor (descendant_concept_id);
CREATE INDEX idx_source_to_concept_map_1 ON source_to_concept_map (source_vocabulary_id);
CREATE INDEX idx_source_to_concept_map_2 ON source_to_concept_map (target_vocabulary_id);
CREATE INDEX idx_source_to_concept_map_3 ON source_to_concept_map (target_concept_id);
CREATE INDEX idx_source_to_concept_map_c ON source_to_concept_map (source_code);
CREATE INDEX idx_drug_strength_id_1 ON drug_strength (drug_concept_id);
CREATE INDEX idx_drug_strength_id_2 ON drug_strength (ingredient_concept_id);
CREATE INDEX idx_gender ON person (gender_concept_id);
CREATE INDEX idx_observation_period_id_1 ON observation_period (person_id);
CREATE INDEX idx_death_person_id_1 ON death (person_id);
CREATE INDEX idx_visit_person_id_1 ON visit_occurrence (person_id);
CREATE INDEX idx_visit_concept_id_1 ON visit_occurrence (visit_concept_id);
CREATE INDEX idx_condition_person_id_1 ON condition_occurrence (person_id);
CREATE INDEX idx_condition_concept_id_1 ON condition_occurrence (condition_concept_id);
CREATE INDEX idx_condition_visit_id_1 ON condition_occurrence (visit_occurrence_id);
CREATE INDEX idx_drug_id ON drug_exposure (drug_exposure_id);
CREATE INDEX idx_drug_person_id_1 ON drug_exposure (person_id);
CREATE INDEX idx_drug_concept_id_1 ON drug_exposure (drug_concept_id);
CREATE INDEX idx_drug_visit_id_1 ON drug_exposure (visit_occurrence_id);
CREATE INDEX idx_procedure_person_id_1 ON procedure_occurrence (person_id);
CREATE INDEX idx_procedure_concept_id_1 ON procedure_occurrence (procedure_concept_id);
CREATE INDEX idx_procedure_visit_id_1 ON procedure_occurrence (visit_occurrence_id);
CREATE INDEX idx_measurement_id ON measurement (measurement_id);
CREATE INDEX idx_measurement_person_id_1 ON measurement (person_id);
CREATE INDEX idx_measurement_concept_id_1 ON measurement (measurement_concept_id);
CREATE INDEX idx_measurement_visit_id_1 ON measurement (visit_occurrence_id);
CREATE INDEX idx_observation_id ON observation (observation_id);
CREATE INDEX idx_observation_person_id_1 ON observation (person_id);
CREATE INDEX idx_observation_concept_id_1 ON observation (observation_concept_id);
CREATE INDEX idx_observation_visit_id_1 ON observation (visit_occurrence_id);
CREATE INDEX idx_condition_era_person_id_1 ON condition_era (person_id);
CREATE INDEX idx_condition_era_concept_id_1 ON condition_era (condition_concept_id);
CREATE INDEX idx_drug_era_person_id_1 ON drug_era (person_id);
CREATE INDEX idx_drug_era_concept_id_1 ON drug_era (drug_concept_id);
