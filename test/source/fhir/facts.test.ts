import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Category } from '../../../agent/model/category.ts';
import type { RecordFacts } from '../../../agent/model/record.ts';
import { patientIdOptions } from '../../../agent/source/define.ts';
import { readFacts } from '../../../agent/source/fhir/facts.ts';
import { Naming } from '../../../agent/source/fhir/patient.ts';
import { scanResource } from '../../../agent/source/fhir/scan.ts';
import { observation, ownSystem, patient } from '../../peers/fhir/resources.ts';
import { facility } from './host.ts';

const base = new URL('https://ehr.example/fhir/');

interface Choice {
  readonly patientId?: Record<string, unknown>;
  readonly facility?: string | undefined;
  readonly categories?: Record<string, Category>;
}

function facts(resource: Buffer | object, { patientId = {}, categories = {}, ...choice }: Choice = {}): RecordFacts {
  const code = 'facility' in choice ? choice.facility : facility;
  const naming = new Naming({ source: 'ehr-fhir', base, patientId: patientIdOptions.parse(patientId), facility: code });
  const bytes = Buffer.isBuffer(resource) ? resource : Buffer.from(JSON.stringify(resource));
  return readFacts(bytes, scanResource(bytes), { naming, categories });
}

const alias = (id: string) => ({ authority: 'fhir:ehr-fhir', id: `Patient/${id}`, normalized: `Patient/${id}` });
const own = (id: string) => ({ authority: '', id, normalized: id });
const lab = { resourceType: 'Observation', id: 'o1', subject: { reference: 'Patient/p1' } };

describe('a Patient', () => {
  it("is named by the hospital's own number, and its FHIR id is a name of the same person", () => {
    expect(facts(patient({ id: 'p1', number: '0012345' }).bytes)).toMatchObject({
      nativeKey: 'Patient/p1',
      versionKey: '1',
      category: 'demographics',
      patients: [own('0012345')],
      aliases: [alias('p1')],
      route: 'fhir-search',
      mediaType: 'application/fhir+json',
    });
  });

  it('is normalised by the rule of the source', () => {
    const named = facts(patient({ id: 'p1', number: '0012345' }).bytes, {
      patientId: { strip: 'leading-zeros', pad: 10 },
    });
    expect(named.patients).toEqual([{ authority: '', id: '0012345', normalized: '0000012345' }]);
  });

  it('is known by its FHIR id alone when its number is of another institution, which is one more name', () => {
    const system = `${ownSystem.slice(0, -10)}2799999999`;
    const found = facts({ resourceType: 'Patient', id: 'p1', identifier: [{ system, value: '77' }] });
    expect(found.patients).toEqual([alias('p1')]);
    expect(found.aliases).toEqual([{ authority: system, id: '77', normalized: '77' }]);
  });

  it.each([
    ['of no facility', { facility: undefined }, [alias('p1')]],
    ['of a configured authority', { facility: undefined, patientId: { ownAuthorities: [ownSystem] } }, [own('1')]],
  ])('of an identifier system %s is named accordingly', (_, choice, patients) => {
    expect(facts(patient({ id: 'p1', number: '1' }).bytes, choice).patients).toEqual(patients);
  });

  it('without a system is not taken for our own, unless the configuration says so', () => {
    const resource = { resourceType: 'Patient', id: 'p1', identifier: [{ value: '1' }] };
    expect(facts(resource).patients).toEqual([alias('p1')]);
    expect(facts(resource, { patientId: { ownAuthorities: [''] } }).patients).toEqual([own('1')]);
  });

  it('with two different numbers of ours is set aside, but not for one that is no longer used', () => {
    const identifier = [
      { system: ownSystem, value: '1' },
      { system: ownSystem, value: '2' },
    ];
    expect(facts({ resourceType: 'Patient', id: 'p1', identifier })).toMatchObject({
      quarantine: 'TWO_PATIENTS',
      patients: [],
    });
    const old = [identifier[0], { ...identifier[1], use: 'old' }];
    expect(facts({ resourceType: 'Patient', id: 'p1', identifier: old }).patients).toEqual([own('1')]);
  });

  it('says kanji, kana, birth date, sex and address', () => {
    expect(facts(patient({ id: 'p1', number: '1' }).bytes).demographics).toEqual({
      nameKanji: '\u{20bb7}野 太郎',
      nameKana: 'ヨシノ タロウ',
      birthDate: '1950-01-02',
      sex: 'male',
      address: '100-0000 東京都架空区架空町1-2-3',
    });
  });

  it('tells the script of a name by its characters where no extension does', () => {
    const name = [{ text: '架橋 花子' }, { text: 'カキョウ ハナコ' }, { family: 'Kakyo', given: ['Hanako'] }];
    expect(facts({ resourceType: 'Patient', id: 'p1', name }).demographics).toEqual({
      nameKanji: '架橋 花子',
      nameKana: 'カキョウ ハナコ',
      nameAlphabetic: 'Kakyo Hanako',
    });
  });

  it.each([
    ['replaced-by', { prior: own('1'), surviving: alias('p2') }],
    ['replaces', { prior: alias('p2'), surviving: own('1') }],
  ])('that is linked by %s is merged', (type, merge) => {
    const link = JSON.stringify([{ other: { reference: 'Patient/p2' }, type }]);
    const found = facts(patient({ id: 'p1', number: '1', more: `,"link":${link}` }).bytes);
    expect(found).toMatchObject({ merge, patients: [own('1'), alias('p2')], aliases: [alias('p1')] });
    expect(found.quarantine).toBeUndefined();
  });

  it.each(['seealso', 'refer'])('that is linked by %s is merged with nobody', (type) => {
    const link = JSON.stringify([{ other: { reference: 'Patient/p2' }, type }]);
    const found = facts(patient({ id: 'p1', number: '1', more: `,"link":${link}` }).bytes);
    expect(found.merge).toBeUndefined();
    expect(found.patients).toEqual([own('1')]);
  });

  it('that replaces two others, or one elsewhere, is left to a person', () => {
    const link = (...references: string[]) =>
      facts({
        resourceType: 'Patient',
        id: 'p1',
        link: references.map((reference) => ({ other: { reference }, type: 'replaces' })),
      }).quarantine;
    expect(link('Patient/p2', 'Patient/p3')).toBe('TWO_PATIENTS');
    expect(link('https://other.example/fhir/Patient/p2')).toBe('NO_PATIENT');
  });
});

describe('any other resource', () => {
  it.each([
    ['relative', 'Patient/p1'],
    ['with a version', 'Patient/p1/_history/3'],
    ['absolute on the server itself', 'https://ehr.example/fhir/Patient/p1'],
  ])('is of the patient its reference names, %s', (_, reference) => {
    expect(facts({ ...lab, subject: { reference } })).toMatchObject({ patients: [alias('p1')] });
  });

  it.each([
    ['there is no reference', undefined],
    ['it leads to another server', { reference: 'https://other.example/fhir/Patient/p1' }],
    ['it leads to something that is no patient', { reference: 'Group/1' }],
    ['it is a placeholder', { reference: 'urn:uuid:0a1b' }],
    ['it only displays a name', { display: '架橋 太郎' }],
    ['it leads into the resource, where nobody is', { reference: '#p' }],
    ['it is an identifier of somebody else', { identifier: { system: 'urn:oid:1.2.3', value: '1' } }],
  ])('is set aside when %s', (_, subject) => {
    expect(facts({ ...lab, subject })).toMatchObject({ patients: [], quarantine: 'NO_PATIENT' });
  });

  it.each([
    ['Coverage', 'beneficiary'],
    ['AllergyIntolerance', 'patient'],
  ])('of type %s names its patient as %s', (resourceType, field) => {
    expect(facts({ resourceType, id: '1', [field]: { reference: 'Patient/p1' } }).patients).toEqual([alias('p1')]);
  });

  it("is of the hospital's own number where only that is said, in the reference or in a contained Patient", () => {
    const identifier = { system: ownSystem, value: '0012' };
    expect(facts({ ...lab, subject: { identifier } }).patients).toEqual([own('0012')]);
    const contained = [{ resourceType: 'Patient', id: 'p', identifier: [identifier] }];
    expect(facts({ ...lab, subject: { reference: '#p' }, contained }).patients).toEqual([own('0012')]);
  });

  it.each([
    ['subject and patient differ', { patient: { reference: 'Patient/p2' } }],
    ['another patient is named deep inside', { focus: [{ reference: 'https://ehr.example/fhir/Patient/p2' }] }],
    ['it contains a Patient that is not its subject', { contained: [{ resourceType: 'Patient', id: 'x' }] }],
  ])('is set aside when %s', (_, more) => {
    expect(facts({ ...lab, ...more })).toMatchObject({ patients: [], quarantine: 'TWO_PATIENTS' });
  });

  it('may name its own patient more than once', () => {
    expect(facts({ ...lab, performer: [{ reference: 'Patient/p1/_history/2' }] }).quarantine).toBeUndefined();
  });

  it('without a usable id is set aside under the digest of its content', () => {
    for (const id of [undefined, '', '架橋', 'x'.repeat(300)]) {
      const bytes = Buffer.from(JSON.stringify({ ...lab, id }));
      const digest = createHash('sha256').update(bytes).digest('hex');
      expect(facts(bytes)).toMatchObject({
        nativeKey: `Observation/${digest}`,
        versionKey: digest,
        quarantine: 'BAD_NAME',
      });
    }
  });

  it('is versioned by its content where the server gives no version', () => {
    const bytes = Buffer.from(JSON.stringify(lab));
    expect(facts(bytes).versionKey).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(facts(observation({ id: 'o1' }).bytes).versionKey).toBe('7');
  });

  it('is an insertion with its bytes although it was entered in error: the producer sees the status', () => {
    expect(facts({ ...lab, status: 'entered-in-error' }).op).toBe('INS');
  });

  it.each([
    [{ effectiveDateTime: '2026-11-19T09:00:00+09:00', issued: '2026-11-20T00:00:00Z' }, '2026-11-19T09:00:00+09:00'],
    [{ effectivePeriod: { start: '2026-11' } }, '2026-11'],
    [{ effectiveDateTime: 'yesterday', meta: { lastUpdated: '2026-11-20T00:00:00.5Z' } }, '2026-11-20T00:00:00.5Z'],
    [{}, undefined],
  ])('happened when %j says', (more, eventAt) => {
    expect(facts({ ...lab, ...more }).eventAt).toBe(eventAt);
  });
});

describe('the category', () => {
  const coded = (resourceType: string, ...codes: string[]) => ({
    ...lab,
    resourceType,
    category: codes.map((code) => ({ coding: [{ code }] })),
  });

  it.each<[object, Category]>([
    [coded('Observation', 'laboratory'), 'lab-result'],
    [coded('Observation', 'vital-signs'), 'observation'],
    [coded('Observation', 'imaging'), 'exam-result'],
    [coded('Observation'), 'unclassified'],
    [coded('Observation', 'laboratory', 'vital-signs'), 'unclassified'],
    [coded('DiagnosticReport', 'RAD'), 'exam-result'],
    [coded('DiagnosticReport', 'LP29693-6'), 'lab-result'],
    [coded('ServiceRequest', '108252007'), 'lab-order'],
    [coded('Condition', 'problem-list-item'), 'diagnosis'],
    [coded('MedicationRequest'), 'prescription'],
    [
      { ...coded('MedicationRequest'), meta: { profile: ['http://jpfhir.jp/x/JP_MedicationRequest_Injection|1.2'] } },
      'injection',
    ],
    [coded('VisionPrescription'), 'unclassified'],
    // FHIR R4 MedicationRequest has a list, MedicationDispense one concept.
    [{ ...coded('Observation'), category: { coding: [{ code: 'laboratory' }] } }, 'lab-result'],
  ])('of %j is %s', (resource, category) => {
    expect(facts(resource).category).toBe(category);
  });

  it('is what the configuration says, by code before type', () => {
    const categories = { 'Observation/laboratory': 'exam-result', Observation: 'observation' } as const;
    expect(facts(coded('Observation', 'laboratory'), { categories }).category).toBe('exam-result');
    expect(facts(coded('Observation', 'other'), { categories }).category).toBe('observation');
  });
});

describe('an outline', () => {
  const reference = fc.constantFrom(
    'Patient/p1',
    'Patient/p2',
    `${base.href}Patient/p1`,
    'https://other.example/Patient/p1',
    'Group/g',
    '#c1',
  );
  const person = fc.record({ reference }, { requiredKeys: [] });
  const other = fc.record(
    {
      category: fc.constantFrom([{ coding: [{ code: 'laboratory' }] }], [{ coding: [{ code: 'exam' }] }], 'none'),
      effectiveDateTime: fc.constantFrom('2026-11-19', 'never'),
      issued: fc.constant('2026-11-20T10:00:00Z'),
      subject: person,
      patient: person,
      focus: fc.array(person, { maxLength: 2 }),
      note: fc.constantFrom([{ text: 'see Patient/p1' }], [{ text: '"reference"' }], 'plain'),
      contained: fc.constantFrom(
        [],
        [{ resourceType: 'Patient', id: 'c1', identifier: [{ system: ownSystem, value: '12' }] }],
      ),
    },
    { requiredKeys: [] },
  );

  it('says of a resource what all of it says', () => {
    fc.assert(
      fc.property(fc.constantFrom('Observation', 'MedicationRequest', 'Basic'), other, (resourceType, members) => {
        const resource = { resourceType, id: 'r1', meta: { versionId: '3' }, ...members };
        // One escape anywhere, and it is read whole.
        const escaped = Buffer.from(JSON.stringify({ ...resource, extra: '\n' }));
        expect(facts(resource)).toEqual(facts(escaped));
      }),
    );
  });
});
