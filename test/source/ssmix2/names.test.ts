import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { categories } from '../../../agent/model/category.ts';
import { categoryOf, dataTypes } from '../../../agent/source/ssmix2/data-types.ts';
import {
  isIn,
  isPatientFolder,
  logicalKey,
  parseFileName,
  timeOf,
  versionKey,
} from '../../../agent/source/ssmix2/names.ts';

const example = '9999013_20110701_OMP-01_000000011000185_20110701224603984_01_1';

const digits = (min: number, max = min) =>
  fc.string({
    unit: fc.constantFrom('0', '1', '2', '3', '4', '5', '6', '7', '8', '9'),
    minLength: min,
    maxLength: max,
  });
const day = fc
  .date({ min: new Date('1950-01-01'), max: new Date('2099-12-31'), noInvalidDate: true })
  .map((date) => date.toISOString().slice(0, 10).replaceAll('-', ''));
const anyName = fc.record({
  patientId: digits(1, 15),
  careDate: fc.oneof(day, fc.constant('-')),
  dataType: fc.constantFrom(...Object.keys(dataTypes)),
  orderNumber: digits(13, 22),
  time: fc.tuple(day, fc.nat(23), fc.nat(59), fc.nat(59), digits(0, 3)).map(([date, h, m, s, rest]) => {
    const two = (n: number) => String(n).padStart(2, '0');
    return `${date}${two(h)}${two(m)}${two(s)}${rest}`;
  }),
  department: fc.oneof(digits(1, 5), fc.constant('-')),
  flag: fc.constantFrom('0' as const, '1' as const, '2' as const),
});

describe('file names (REQ-SSM-1)', () => {
  it('gives back every field of every name of the grammar', () => {
    fc.assert(
      fc.property(anyName, (name) => {
        expect(parseFileName(Object.values(name).join('_'))).toEqual(name);
      }),
    );
  });

  it.each([
    ['six fields', '9999013_20110701_OMP-01_000000011000185_20110701224603984_1'],
    ['eight fields', '9999013_x_20110701_OMP-01_000000011000185_20110701224603984_01_1'],
    ['no fields', 'broken_name'],
    ['nothing', ''],
    ['an extension', `${example}.hl7`],
    ['a flag that is none', example.replace(/1$/, '3')],
    ['no patient', example.replace('9999013', '')],
    ['a path for a patient', example.replace('9999013', '..')],
    ['a care date that does not exist', example.replace('20110701', '20110231')],
    ['a data type in small letters', example.replace('OMP', 'omp')],
    ['an order number of 12 digits', example.replace('000000011000185', '000011000185')],
    ['an order number of 23 digits', example.replace('000000011000185', '0'.repeat(23))],
    ['a time of 13 digits', example.replace('20110701224603984', '2011070122460')],
    ['a time of 18 digits', example.replace('20110701224603984', '201107012246039840')],
    ['a time that is none', example.replace('20110701224603984', '20110701254603984')],
    ['no department', example.replace('_01_1', '__1')],
  ])('does not take a name with %s', (_, name) => {
    expect(parseFileName(name)).toBeUndefined();
  });

  it('never throws, whatever the name is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 120 }), (name) => {
        const parsed = parseFileName(name);
        expect(parsed === undefined || Object.values(parsed).join('_') === name).toBe(true);
      }),
    );
  });

  it.each(['patientId', 'careDate', 'dataType'] as const)('does not belong to a folder with another %s', (field) => {
    const name = parseFileName(example);
    const place = { patientId: '9999013', careDate: '20110701', dataType: 'OMP-01' };
    expect(name && isIn(place, name)).toBe(true);
    expect(name && isIn({ ...place, [field]: '-' }, name)).toBe(false);
  });

  it('knows one order by one key and its versions by keys of their own', () => {
    const first = parseFileName(example);
    const second = parseFileName(example.replace('20110701224603984_01_1', '20110702000000000_02_2'));
    if (!first || !second) throw new Error('expected names');
    expect(logicalKey(first)).toBe('9999013|20110701|OMP-01|000000011000185');
    expect(logicalKey(second)).toBe(logicalKey(first));
    expect(versionKey(second)).not.toBe(versionKey(first));
  });

  it.each([
    ['20110701224603984', '2011-07-01T22:46:03.984+09:00'],
    ['201107012246031', '2011-07-01T22:46:03.1+09:00'],
    ['20110701224603', '2011-07-01T22:46:03+09:00'],
  ])('reads %s as the time it is', (text, time) => {
    expect(timeOf(text)).toBe(time);
  });
});

it.each([
  [['999', '901', '9999013'], true],
  [['999', '901', '9990015'], false],
  [['998', '901', '9999013'], false],
  [['999', '001', '9990015'], true],
  [['123', '45', '12345'], true],
])('says of the folders %j that they lead to one patient: %s', (path, expected) => {
  expect(isPatientFolder(path)).toBe(expected);
});

describe('data types', () => {
  it('are 36 with their cancels and deletes, each in a category that can be filed', () => {
    const messages = Object.values(dataTypes).flatMap((type) => type.messages.split(', '));
    expect(messages).toHaveLength(36);
    expect(
      Object.values(dataTypes).filter(({ category }) => !(categories as readonly string[]).includes(category)),
    ).toEqual([]);
  });

  it('tell injections from prescriptions, which are the same message', () => {
    expect(categoryOf('OMP-01', {})).toBe('prescription');
    expect(categoryOf('OMP-12', {})).toBe('injection');
  });

  it('are what the hospital says they are, and unclassified when nobody knows', () => {
    expect(categoryOf('OMG-13', { 'OMG-13': 'observation' })).toBe('observation');
    expect(categoryOf('ZZZ-01', {})).toBe('unclassified');
    expect(categoryOf('constructor', {})).toBe('unclassified');
  });
});
