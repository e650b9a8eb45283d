import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Category } from '../../../agent/model/category.ts';
import type { RecordFacts } from '../../../agent/model/record.ts';
import { decode } from '../../../agent/base/hl7/charset.ts';
import type { FactsOptions, Unreadable } from '../../../agent/base/hl7/facts.ts';
import { readFacts } from '../../../agent/source/hl7v2/facts.ts';
import { field, headerBytesMax, readHeader } from '../../../agent/base/hl7/header.ts';
import { sameNameMax, segmentBytesMax, walkedBytesMax } from '../../../agent/base/hl7/segments.ts';
import { isoTime } from '../../../agent/base/hl7/text.ts';
import { encode, type Encoding, japaneseMessage, knownCharacters, message } from './messages.ts';

const defaults: FactsOptions = { encoding: 'auto', patientId: { strip: 'none', ownAuthorities: [] }, categories: {} };

function factsOf(content: Buffer | string, options: Partial<FactsOptions> = {}, unreadable?: Unreadable): RecordFacts {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content;
  const header = readHeader(bytes);
  if (!header) throw new Error('no header');
  return readFacts(bytes, header, { ...defaults, ...options }, unreadable);
}

const event = (type: string, segments: string[] = []) => factsOf(message({ controlId: 'M1', type, segments }));

const encodings: readonly { encoding: Encoding; msh18: string }[] = [
  { encoding: 'utf-8', msh18: 'UNICODE UTF-8' },
  { encoding: 'utf-8', msh18: '' },
  { encoding: 'iso-2022-jp', msh18: '~ISO IR87' },
  { encoding: 'iso-2022-jp', msh18: '~ISOIR87' },
  { encoding: 'iso-2022-jp', msh18: '' },
  { encoding: 'cp932', msh18: '' },
  { encoding: 'cp932', msh18: 'SHIFT-JIS' },
  { encoding: 'euc-jp', msh18: 'ISO IR87' },
  { encoding: 'euc-jp', msh18: 'EUC-JP' },
];

describe('four encodings', () => {
  it.each(['iso-2022-jp', 'cp932', 'euc-jp'] as const)('has a test table that is right for %s', (encoding) => {
    expect(decode(encode(knownCharacters, encoding), encoding)).toBe(knownCharacters);
  });

  it.each(encodings)('reads names full of delimiter bytes in $encoding with MSH-18 "$msh18"', ({ encoding, msh18 }) => {
    const facts = factsOf(encode(japaneseMessage('M1', msh18), encoding));
    expect(facts.charset).toBe(encoding);
    expect(facts.patients).toEqual([{ authority: '', id: '00012345', normalized: '00012345' }]);
    expect(facts.demographics).toEqual({
      nameKanji: '山本 マウ子',
      nameKana: 'マウ ソマ',
      nameAlphabetic: 'YAMAMOTO MAUKO',
      birthDate: '1970-01-01',
      sex: 'F',
      address: '422-8033 山入1-2-3',
    });
  });

  it.each(encodings.filter(({ encoding }) => encoding !== 'utf-8'))(
    'reads $encoding as configured whatever MSH-18 says',
    ({ encoding }) => {
      const facts = factsOf(encode(japaneseMessage('M1', 'UNICODE UTF-8'), encoding), { encoding });
      expect(facts.demographics?.nameKanji).toBe('山本 マウ子');
    },
  );

  it('keeps the delimiters of a sender that returns to JIS-Roman instead of ASCII', () => {
    const facts = factsOf(encode(japaneseMessage('M1', '~ISO IR87'), 'iso-2022-jp', '\x1b(J'));
    expect(facts.demographics).toMatchObject({ nameKanji: '山本 マウ子', nameKana: 'マウ ソマ' });
    expect(facts.quarantine).toBeUndefined();
  });

  it('takes half-width kana for CP932 when MSH-18 is empty', () => {
    const kana = Buffer.from('b6b9cabc', 'hex').toString('latin1');
    const text = message({ controlId: 'M1' }).replace('KAKEHASHI^TARO^^^^^L^A', `${kana}^^^^^^L^P`);
    expect(factsOf(text).demographics?.nameKana).toBe('ｶｹﾊｼ');
  });

  it('counts and flags JIS X 0212, and keeps the record', () => {
    const found: Parameters<Unreadable>[0][] = [];
    const text = message({ controlId: 'M1', msh18: '~ISO IR159' }).replace('KAKEHASHI^TARO', '\x1b$(D0!\x1b(B^TARO');
    const facts = factsOf(text, {}, (counted) => found.push(counted));
    expect(facts.quarantine).toBeUndefined();
    expect(found).toEqual([{ characters: expect.any(Number), isJisX0212: true }]);
    expect(found[0]?.characters).toBeGreaterThan(0);
  });

  it('quarantines as UNDECODABLE when the patient id cannot be read', () => {
    const text = message({ controlId: 'M1', patientId: '0001\xff\xfe^^^^PI' });
    expect(factsOf(text, { encoding: 'utf-8' })).toMatchObject({ quarantine: 'UNDECODABLE', patients: [] });
  });

  it('quarantines as UNDECODABLE when the message type cannot be read', () => {
    expect(event('AD\x82^A08')).toMatchObject({ quarantine: 'UNDECODABLE' });
  });

  it('does not quarantine for an unreadable name', () => {
    const text = message({ controlId: 'M1' }).replace('TARO', 'TA\xffRO');
    const found: number[] = [];
    const facts = factsOf(text, { encoding: 'utf-8' }, ({ characters }) => found.push(characters));
    expect([facts.quarantine, found]).toEqual([undefined, [1]]);
  });

  const samples = resolve(import.meta.dirname, '../../fixtures/hl7');
  it.each(['utf-8', 'cp932', 'euc_jp', 'iso2022_jp'])('reads the sample in %s', (name) => {
    const facts = factsOf(readFileSync(resolve(samples, `adt-a08-${name}.hl7`)));
    expect(facts).toMatchObject({
      category: 'demographics',
      op: 'INS',
      patients: [{ authority: '', id: '00012345', normalized: '00012345' }],
      demographics: { nameKanji: '田中 花子', nameKana: 'タナカ ハナコ', birthDate: '1970-01-01', sex: 'F' },
    });
    expect(facts.demographics?.address).toContain('静岡県静岡市登呂');
  });
});

describe('the patient', () => {
  const patientId = (text: string, options: Partial<FactsOptions['patientId']> = {}) =>
    factsOf(message({ controlId: 'M1', patientId: text }), {
      patientId: { strip: 'none', ownAuthorities: [], ...options },
    });

  it('keeps the id as sent and normalises it by the rule of the source', () => {
    expect(patientId('00012345^^^^PI', { strip: 'leading-zeros' }).patients).toEqual([
      { authority: '', id: '00012345', normalized: '12345' },
    ]);
    expect(patientId('12345^^^^PI', { strip: 'leading-zeros', pad: 10 }).patients[0]?.normalized).toBe('0000012345');
    expect(patientId('000^^^^PI', { strip: 'leading-zeros' }).patients[0]?.normalized).toBe('0');
    expect(patientId('A-12-3', { strip: 'non-digits' }).patients[0]?.normalized).toBe('123');
  });

  it.each([
    ['HOSP', 'HOSP'],
    ['HOSP&1.2.392.1&ISO', '1.2.392.1'],
    ['HOSP&1.2.392.1&ISO', 'HOSP'],
    ['HOSP&1.2.392.1&ISO', 'HOSP&1.2.392.1&ISO'],
  ])('knows %s as its own authority by %s', (sent, own) => {
    expect(patientId(`1^^^${sent}^PI`, { ownAuthorities: [own] }).patients[0]?.authority).toBe('');
  });

  it('prefers its own number among several, and makes another authority’s an alias', () => {
    const facts = patientId('77^^^REGION^PI~00012345^^^^PI~9^^^&1.2.3&ISO^SS');
    expect(facts.patients).toEqual([{ authority: '', id: '00012345', normalized: '00012345' }]);
    expect(facts.aliases).toEqual([{ authority: 'REGION', id: '77', normalized: '77' }]);
  });

  it('does not pad a number of another authority', () => {
    expect(patientId('77^^^REGION^PI', { pad: 10 }).patients).toEqual([
      { authority: 'REGION', id: '77', normalized: '77' },
    ]);
  });

  it.each([[''], ['""'], ['   ^^^^PI'], ['123^^^^SS']])(
    'quarantines a message whose PID-3 is "%s" as NO_PATIENT',
    (text) => {
      const pid = message({ controlId: 'M1' }).replace('00012345^^^^PI', text);
      expect(factsOf(pid)).toMatchObject({ quarantine: 'NO_PATIENT', patients: [] });
    },
  );

  it('quarantines a message without PID as NO_PATIENT', () => {
    expect(factsOf(message({ controlId: 'M1', patientId: '' }))).toMatchObject({ quarantine: 'NO_PATIENT' });
  });

  it.each([
    ['two PID segments', message({ controlId: 'M1', segments: ['PID|2||99999^^^^PI'] })],
    ['two own numbers', message({ controlId: 'M1', patientId: '1^^^^PI~2^^^^PI' })],
    ['an MRG in what is no merge', message({ controlId: 'M1', type: 'ADT^A43', segments: ['MRG|99999^^^^PI'] })],
    ['a swap of beds', message({ controlId: 'M1', type: 'ADT^A17', segments: ['PV1|1|I', 'PID|2||99999^^^^PI'] })],
  ])('quarantines %s as TWO_PATIENTS', (_, text) => {
    expect(factsOf(text)).toMatchObject({ quarantine: 'TWO_PATIENTS', patients: [] });
  });

  it('finds a second patient beyond what is walked of a large message', () => {
    const filler = Array.from({ length: (3 * walkedBytesMax) / 1000 }, () => `OBX|1|ED|||${'x'.repeat(1000)}`);
    const one = message({ controlId: 'M1', type: 'ORU^R01', segments: filler });
    expect(factsOf(one).quarantine).toBeUndefined();
    expect(factsOf(`${one}PID|2||99999^^^^PI\rOBR|1\r`).quarantine).toBe('TWO_PATIENTS');
    expect(factsOf(`${one}PID|2||00012345^^^^PI\rOBR|1\r`).quarantine).toBeUndefined();
  });

  it('takes the same patient named twice for one', () => {
    expect(factsOf(message({ controlId: 'M1', segments: ['PID|2||00012345^^^^PI'] })).patients).toHaveLength(1);
  });

  it.each(['A18', 'A34', 'A36', 'A39', 'A40', 'A47', 'A49'])(
    'reads ADT^%s as a merge of MRG-1 into PID-3',
    (trigger) => {
      const facts = event(`ADT^${trigger}`, ['MRG|00099999^^^^PI']);
      const surviving = { authority: '', id: '00012345', normalized: '00012345' };
      const prior = { authority: '', id: '00099999', normalized: '00099999' };
      expect(facts).toMatchObject({
        patients: [surviving, prior],
        merge: { prior, surviving },
        category: 'demographics',
      });
      expect(facts.quarantine).toBeUndefined();
    },
  );

  it('quarantines a merge that does not name the prior patient, or names several', () => {
    expect(event('ADT^A40').quarantine).toBe('NO_PATIENT');
    expect(event('ADT^A40', ['MRG|1^^^^PI', 'PID|2||00012345', 'MRG|2^^^^PI']).quarantine).toBe('TWO_PATIENTS');
  });

  it('takes a merge of a number into itself for an ordinary message', () => {
    const facts = event('ADT^A47', ['MRG|00012345^^^^PI']);
    expect([facts.patients.length, facts.merge, facts.quarantine]).toEqual([1, undefined, undefined]);
  });
});

describe('category and operation', () => {
  const table: readonly [string, Category, 'INS' | 'DEL'][] = [
    ['ADT^A08^ADT_A01', 'demographics', 'INS'],
    ['ADT^A28', 'demographics', 'INS'],
    ['ADT^A31', 'demographics', 'INS'],
    ['ADT^A23', 'demographics', 'DEL'],
    ['ADT^A54', 'encounter', 'INS'],
    ['ADT^A55', 'encounter', 'DEL'],
    ['ADT^A04', 'encounter', 'INS'],
    ['ADT^A14', 'encounter', 'INS'],
    ['ADT^A27', 'encounter', 'DEL'],
    ['ADT^A01', 'encounter', 'INS'],
    ['ADT^A11', 'encounter', 'DEL'],
    ['ADT^A21', 'encounter', 'INS'],
    ['ADT^A52', 'encounter', 'DEL'],
    ['ADT^A22', 'encounter', 'INS'],
    ['ADT^A53', 'encounter', 'DEL'],
    ['ADT^A15', 'encounter', 'INS'],
    ['ADT^A26', 'encounter', 'DEL'],
    ['ADT^A02', 'encounter', 'INS'],
    ['ADT^A12', 'encounter', 'DEL'],
    ['ADT^A16', 'encounter', 'INS'],
    ['ADT^A25', 'encounter', 'DEL'],
    ['ADT^A03', 'encounter', 'INS'],
    ['ADT^A13', 'encounter', 'DEL'],
    ['ADT^A60', 'allergy', 'INS'],
    ['PPR^ZD1', 'diagnosis', 'INS'],
    ['OMD^O03', 'diet', 'INS'],
    ['OML^O33', 'lab-order', 'INS'],
    ['OUL^R22', 'lab-result', 'INS'],
    ['ORU^R01', 'lab-result', 'INS'],
    ['ORU^R30', 'observation', 'INS'],
    ['OMG^O19', 'exam-order', 'INS'],
    ['OMI^Z23', 'exam-result', 'INS'],
    ['MDM^T02', 'document', 'INS'],
    ['MDM^T11', 'document', 'DEL'],
    ['VXU^V04', 'immunization', 'INS'],
    ['ORM^O01', 'unclassified', 'INS'],
    ['ZZZ^Z99', 'unclassified', 'INS'],
    ['constructor^toString', 'unclassified', 'INS'],
    ['', 'unclassified', 'INS'],
  ];
  it.each(table)('files %s under %s, %s', (type, category, op) => {
    expect(event(type)).toMatchObject({ category, op });
  });

  it('takes the trigger from EVN-1 where MSH-9 has none', () => {
    const text = message({ controlId: 'M1', type: 'ADT' }).replace('EVN||', 'EVN|A60|');
    expect(factsOf(text).category).toBe('allergy');
  });

  it.each([
    [['RXR|PO^口^HL70162'], 'prescription'],
    [['RXR|IV^静脈内^HL70162'], 'injection'],
    [['RXR|IV', 'RXR|IM'], 'injection'],
    [['RXR|IV', 'RXR|PO'], 'unclassified'],
    [['RXR|', 'RXC|B|1'], 'injection'],
    [['RXR|PO', 'RXC|B|1'], 'prescription'],
    [[], 'unclassified'],
    [['RXR|IH'], 'prescription'],
  ])('files RDE^O11 and RAS^O17 with %s under %s', (segments, category) => {
    const latin1 = segments.map((segment) => Buffer.from(segment).toString('latin1'));
    expect(event('RDE^O11', latin1).category).toBe(category);
    expect(event('RAS^O17', latin1).category).toBe(category);
  });

  it('does not guess the category of an order longer than what is read of it', () => {
    const filler = Array.from({ length: 300 }, () => `NTE|1||${'x'.repeat(1000)}`);
    expect(event('RDE^O11', ['RXR|PO', ...filler]).category).toBe('unclassified');
  });

  it('follows the categories of the configuration first', () => {
    const categories = { 'ORU^R01': 'exam-result', ZZZ: 'procedure' } as const;
    expect(factsOf(message({ controlId: 'M1', type: 'ORU^R01' }), { categories }).category).toBe('exam-result');
    expect(factsOf(message({ controlId: 'M1', type: 'ZZZ^Z01' }), { categories }).category).toBe('procedure');
  });

  it.each([
    [['ORC|CA|1'], 'DEL'],
    [['ORC|CA|1', 'ORC|OC|2'], 'DEL'],
    [['ORC|CA|1', 'ORC|NW|2'], 'INS'],
    [['ORC|DC|1'], 'INS'],
    [['ORC|NW|1'], 'INS'],
  ])('reads orders %s as %s', (segments, op) => {
    expect(event('OML^O33', segments).op).toBe(op);
  });
});

describe('what travels beside the payload', () => {
  it('names a message by its sender and control id', () => {
    expect(factsOf(message({ controlId: 'M1' }))).toMatchObject({
      nativeKey: 'HIS001|KAKEHASHI|M1',
      lane: 'text',
      route: 'mllp',
      charset: 'us-ascii',
    });
    expect(factsOf(message({ controlId: 'M1' }))).not.toHaveProperty('versionKey');
  });

  it('takes the order number from ORC-2 and the time of a result from OBR-7', () => {
    const facts = event('OUL^R22', ['OBR|1|A|B|C|||20260619', 'ORC|SC|095851933812895|095851933812895']);
    expect(facts).toMatchObject({ orderNumber: '095851933812895', eventAt: '2026-06-19' });
  });

  it('takes the time of an event from EVN-2, and from MSH-7 where there is none', () => {
    expect(event('ADT^A08').eventAt).toBe('2026-11-23T10:15:00+09:00');
    expect(factsOf(message({ controlId: 'M1' }).replace('EVN||20261123101500', 'EVN||')).eventAt).toBe(
      '2026-11-23T10:15:30+09:00',
    );
  });

  it.each([
    ['20261123', '2026-11-23'],
    ['202611', '2026-11'],
    ['2026112310', '2026-11-23T10:00+09:00'],
    ['202611231015', '2026-11-23T10:15+09:00'],
    ['20261123101530.2747', '2026-11-23T10:15:30.2747+09:00'],
    ['20261123101530+0000', '2026-11-23T10:15:30+00:00'],
    ['20260230', undefined],
    ['2026112325', undefined],
    ['202611231060', undefined],
    ['20261301', undefined],
    ['yesterday', undefined],
    ['', undefined],
  ])('reads the time %s as %s', (ts, iso) => {
    expect(isoTime(ts)).toBe(iso);
  });

  it('reads insurances as insurer, symbol, number and branch', () => {
    const facts = event('ADT^A08', [
      'IN1|1|06^組合^JHSD0001|06130012|||||||12|345^01',
      'IN1|2|',
      'IN1|3|39|39131156|||||||""|9',
    ]);
    expect(facts.demographics?.insurance).toEqual(['06130012/12/345/01', '39131156//9']);
  });

  it('resolves escapes, and keeps U+3000', () => {
    const text = message({ controlId: 'M1' }).replace('KAKEHASHI^TARO', 'A\\T\\B\\S\\C^\u3000D\\.br\\');
    expect(factsOf(Buffer.from(text)).demographics?.nameAlphabetic).toBe('A&B^C \u3000D\\.br\\');
  });

  it('reads other delimiters than the usual ones', () => {
    const text = message({ controlId: 'M1' }).replaceAll('|', '#').replaceAll('^', '!');
    expect(factsOf(text).patients).toEqual([{ authority: '', id: '00012345', normalized: '00012345' }]);
  });

  it('reads segments that end with CRLF, or with LF alone', () => {
    for (const end of ['\r\n', '\n']) {
      expect(factsOf(message({ controlId: 'M1' }).replaceAll('\r', end)).patients).toHaveLength(1);
    }
  });

  it('reads a bounded part of each segment and a bounded number of them', () => {
    const long = event('ADT^A08', [`IN1|1|06|06130012${'|'.repeat(7)}12|${'3'.repeat(2 * segmentBytesMax)}`]);
    expect(long.demographics?.insurance?.[0]?.length).toBeLessThanOrEqual(segmentBytesMax);
    const orders = [...Array.from({ length: sameNameMax }, () => 'ORC|CA|1'), 'ORC|NW|1'];
    expect(event('OML^O33', orders.slice(0, -1)).op).toBe('DEL');
    expect(event('OML^O33', orders).op).toBe('INS');
    const pids = Array.from({ length: sameNameMax }, () => 'PID|1||00012345');
    expect(event('ORU^R01', pids.slice(1)).quarantine).toBeUndefined();
    expect(event('ORU^R01', pids).quarantine).toBe('TWO_PATIENTS');
  });

  it('reads no header longer than its bound', () => {
    const header = (length: number) => readHeader(Buffer.from(`MSH|^~\\&|${'x'.repeat(length - 9)}\r`));
    expect([header(headerBytesMax) === undefined, header(headerBytesMax + 1) === undefined]).toEqual([false, true]);
  });

  it('never throws, whatever the bytes are', () => {
    const bytes = fc.array(
      fc.oneof(
        fc.constantFrom(
          '\r',
          '\n',
          'PID|',
          'MRG|',
          'EVN|',
          'ORC|',
          'OBR|',
          'IN1|',
          'RXR|',
          '|',
          '^',
          '~',
          '\\',
          '&',
          '\x1b$B',
          '\x1b(B',
          '\x1b$(D',
        ),
        fc.uint8Array({ maxLength: 12 }).map((array) => Buffer.from(array).toString('latin1')),
      ),
      { maxLength: 60 },
    );
    const encoding = fc.constantFrom(
      'auto' as const,
      'utf-8' as const,
      'iso-2022-jp' as const,
      'cp932' as const,
      'euc-jp' as const,
    );
    fc.assert(
      fc.property(bytes, encoding, (parts, chosen) => {
        const facts = factsOf(`MSH|^~\\&|A|B|C|D|2026||ADT^A40|1\r${parts.join('')}`, { encoding: chosen });
        // Nothing goes on without a patient, and nothing names more than a merge does.
        expect(facts.patients.length > 0 || facts.quarantine !== undefined).toBe(true);
        expect(facts.patients.length).toBe(facts.quarantine ? 0 : facts.merge ? 2 : 1);
      }),
      { numRuns: 500 },
    );
  });
});

describe('the oracle', () => {
  it.each(encodings)(
    'agrees with node-hl7-client on the decoded text of $encoding, MSH-18 "$msh18"',
    async ({ encoding, msh18 }) => {
      const { Message } = await import('node-hl7-client');
      const text = japaneseMessage('M1', msh18);
      const oracle = new Message({ text: text.trimEnd() });
      const bytes = encode(text, encoding);
      const header = readHeader(bytes);
      const facts = factsOf(bytes);
      const heard = (path: string) => String(oracle.get(path));
      expect(facts.patients[0]?.id).toBe(heard('PID.3.1'));
      // Its paths do not reach a second repetition (`PID.5[2].1` answers the first), its tree does.
      const names = oracle
        .get('PID.5')
        .toArray()
        .map((repetition) => repetition.toArray().map(String).slice(0, 2).join(' '));
      expect([facts.demographics?.nameKanji, facts.demographics?.nameKana]).toEqual(names.slice(0, 2));
      expect(header && field(header, 10)).toBe(heard('MSH.10'));
      expect(header && field(header, 12)).toBe('2.5^JPN');
    },
  );

  it('finds the fields of a header whose sender is written with delimiter bytes', () => {
    for (const encoding of ['iso-2022-jp', 'cp932', 'euc-jp', 'utf-8'] as const) {
      const text = message({ controlId: 'M1' }).replace('HIS001', '骨表糖').replace('KAKEHASHI|GW01', '表|GW01');
      const header = readHeader(encode(text, encoding), encoding);
      expect(header && [field(header, 5), field(header, 9), field(header, 10)]).toEqual([
        'GW01',
        'ADT^A08^ADT_A01',
        'M1',
      ]);
      expect(header && Buffer.from(field(header, 3), 'latin1')).toEqual(encode('骨表糖', encoding));
    }
  });
});
