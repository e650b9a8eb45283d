/**
 * Whose record a resource is. A Patient says the hospital's own number among its identifiers (JP Core: a system per
 * institution); everything else points to a Patient by its FHIR id, which is a name of the same person under an
 * authority of this source's own. The two are linked when the Patient arrives.
 */
import { normalizePatientId } from '../../base/patient-id.ts';
import type { PatientName, QuarantineReason } from '../../model/record.ts';
import type { PatientIdOptions } from '../define.ts';
import type { Outline } from './outline.ts';
import { at, isObject, type JsonObject, objects, text } from './value.ts';

export interface NamingOptions {
  /** Configured name of this source. */
  readonly source: string;
  /** The server's base address; ends with a slash. */
  readonly base: URL;
  readonly patientId: PatientIdOptions;
  /** Code of the hospital, for the identifier system made from it. */
  readonly facility: string | undefined;
}

export interface Persons {
  readonly patients: readonly PatientName[];
  readonly aliases?: readonly PatientName[];
  readonly merge?: { readonly prior: PatientName; readonly surviving: PatientName };
  readonly quarantine?: QuarantineReason;
}

/** Patient numbers of Japanese institutions: this and the ten digits of the institution (JP Core 1.2, Patient). */
const institutionSystem = 'urn:oid:1.2.392.100495.20.3.51.1';

/** The logical id of FHIR R4 (2.24.0.1), generously: some servers are longer than 64. */
const idPattern = /^[A-Za-z0-9\-._~]{1,200}$/;

export class Naming {
  readonly #options: NamingOptions;
  readonly #ownSystems: ReadonlySet<string>;

  constructor(options: NamingOptions) {
    this.#options = options;
    const { facility, patientId } = options;
    this.#ownSystems = new Set([
      ...patientId.ownAuthorities,
      ...(facility === undefined ? [] : [`${institutionSystem}${facility}`]),
    ]);
  }

  /** The name a Patient's FHIR id is. */
  alias(id: string): PatientName {
    const name = `Patient/${id}`;
    return { authority: `fhir:${this.#options.source}`, id: name, normalized: name };
  }

  /** A Patient is given whole, anything else as its outline. */
  personsOf(type: string, resource: JsonObject, rest: Omit<Outline, 'resource'>): Persons {
    return type === 'Patient' ? this.#patient(resource) : this.#subject(type, { resource, ...rest });
  }

  #patient(resource: JsonObject): Persons {
    const id = idOf(resource);
    const own = this.#ownNames(resource['identifier']);
    if (own.length > 1) return set('TWO_PATIENTS');
    const alias = id === undefined ? [] : [this.alias(id)];
    const [name, ...aliases] = [...own, ...alias, ...foreignNames(resource['identifier'], this.#ownSystems)];
    if (!name || own.length + alias.length === 0) return set('NO_PATIENT');
    const person = { patients: [name], ...(aliases.length > 0 && { aliases }) };
    return this.#linked(resource, person, name);
  }

  /** FHIR R4 Patient.link: `replaced-by` names who goes on, `replaces` who went before; the others merge nobody. */
  #linked(resource: JsonObject, person: Persons, self: PatientName): Persons {
    const links = objects(resource['link']).filter(({ type }) => type === 'replaced-by' || type === 'replaces');
    if (links.length === 0) return person;
    const [link, ...more] = links;
    const id = this.#referencedId(at(link, 'other', 'reference'));
    // One record can tell of one merge; of several, or of one with somebody unknown, a person must decide.
    if (!link || more.length > 0) return set('TWO_PATIENTS');
    if (id === undefined) return set('NO_PATIENT');
    const other = this.alias(id);
    const isPrior = link['type'] === 'replaced-by';
    const merge = isPrior ? { prior: self, surviving: other } : { prior: other, surviving: self };
    return { ...person, patients: [self, other], merge };
  }

  #subject(type: string, outline: Outline): Persons {
    const { resource } = outline;
    const named = subjectFields.flatMap((field) => (isObject(resource[field]) ? [resource[field]] : []));
    const contained = objects(resource['contained']).filter(({ resourceType }) => resourceType === 'Patient');
    const names = named.map((reference) => this.#referenced(reference, contained));
    const [first, ...others] = names;
    if (!first || names.includes(undefined)) return set('NO_PATIENT');
    const isOne = others.every((other) => other && isSame(other, first));
    if (!isOne || !this.#speaksOfOne(type, outline, named, contained)) return set('TWO_PATIENTS');
    return { patients: [first] };
  }

  #referenced(reference: JsonObject, contained: readonly JsonObject[]): PatientName | undefined {
    const target = text(reference['reference']);
    if (target?.startsWith('#')) {
      const patient = contained.find(({ id }) => id === target.slice(1));
      return only(this.#ownNames(patient?.['identifier']));
    }
    if (target === undefined) return only(this.#ownNames([reference['identifier']]));
    const id = this.#referencedId(target);
    return id === undefined ? undefined : this.alias(id);
  }

  /** A person elsewhere in the resource, such as the subscriber of a child's insurance, is a second patient. */
  #speaksOfOne(
    type: string,
    { whole, patientCount }: Outline,
    named: readonly JsonObject[],
    contained: readonly JsonObject[],
  ): boolean {
    const targets = new Set(named.map(({ reference }) => reference));
    if (contained.some(({ id }) => !targets.has(`#${String(id)}`))) return false;
    const ids = new Set(named.map(({ reference }) => this.#referencedId(reference)));
    // A document's entries name its patient by addresses of their own; the subject is what counts.
    if (type === 'Bundle') return true;
    // Named once in all its bytes, and that is the subject: nobody else can be.
    if (patientCount === 1 && named.length === 1 && !ids.has(undefined)) return true;
    return everyReference(whole(), (reference) => {
      const id = this.#referencedId(reference);
      return id === undefined || ids.has(id);
    });
  }

  /** The id of a Patient of this very server: `Patient/1`, with or without version, relative or absolute. */
  #referencedId(reference: unknown): string | undefined {
    const target = text(reference);
    if (target === undefined || target.startsWith('#')) return undefined;
    const base = this.#options.base.href;
    const relative = target.startsWith(base) ? target.slice(base.length) : target;
    return /^Patient\/([A-Za-z0-9\-._~]{1,200})(?:\/_history\/[^/]+)?$/.exec(relative)?.[1];
  }

  /** Numbers of this facility, each once; those marked as no longer used are not its names any more. */
  #ownNames(identifiers: unknown): PatientName[] {
    const names = new Map<string, PatientName>();
    for (const { system, value, use } of objects(identifiers)) {
      const id = text(value);
      if (id === undefined || use === 'old' || !this.#ownSystems.has(typeof system === 'string' ? system : ''))
        continue;
      const normalized = normalizePatientId(id, this.#options.patientId);
      names.set(normalized, { authority: '', id, normalized });
    }
    return [...names.values()];
  }
}

/** Where FHIR R4 resources about one patient name them. */
const subjectFields = ['subject', 'patient', 'beneficiary'] as const;

export function idOf(resource: JsonObject): string | undefined {
  const id = text(resource['id']);
  return id !== undefined && idPattern.test(id) ? id : undefined;
}

/** Numbers of the same person at other institutions. Insurance and passport numbers name them elsewhere. */
function foreignNames(identifiers: unknown, own: ReadonlySet<string>): PatientName[] {
  return objects(identifiers).flatMap(({ system, value, use }) => {
    const id = text(value);
    if (id === undefined || use === 'old' || typeof system !== 'string' || own.has(system)) return [];
    if (!/^\d{10}$/.test(system.startsWith(institutionSystem) ? system.slice(institutionSystem.length) : '')) return [];
    return [{ authority: system, id, normalized: id.trim() }];
  });
}

function everyReference(value: unknown, isFine: (reference: string) => boolean): boolean {
  if (Array.isArray(value)) return value.every((item) => everyReference(item, isFine));
  if (!isObject(value)) return true;
  return Object.entries(value).every(([name, inner]) => {
    return name === 'reference' && typeof inner === 'string' ? isFine(inner) : everyReference(inner, isFine);
  });
}

function set(quarantine: QuarantineReason): Persons {
  return { patients: [], quarantine };
}

function only(names: readonly PatientName[]): PatientName | undefined {
  return names.length === 1 ? names[0] : undefined;
}

function isSame(a: PatientName, b: PatientName): boolean {
  return a.authority === b.authority && a.normalized === b.normalized;
}
