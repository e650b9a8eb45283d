import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sourceCommonShape } from '../../../agent/source/define.ts';
import { readFacts } from '../../../agent/source/dicom/facts.ts';
import { HeaderScanner } from '../../../agent/source/dicom/header-scanner.ts';
import {
  instance,
  type InstanceChoice,
  seriesUid,
  studyUid,
  transferSyntaxes,
  Writer,
} from '../../peers/dicom/dataset.ts';

const patientId = sourceCommonShape.patientId.parse({ strip: 'leading-zeros', ownAuthorities: ['KKH'] });

function factsOf(dataSet: Buffer, transferSyntaxUid: string = transferSyntaxes.explicit, step = dataSet.length || 1) {
  const scanner = new HeaderScanner(transferSyntaxUid);
  for (let at = 0; at < dataSet.length; at += step) scanner.push(dataSet.subarray(at, at + step));
  const arrival = { sopClassUid: '1.2', sopInstanceUid: '1.2.3', transferSyntaxUid, isMoved: false };
  return readFacts(scanner.end(), arrival, { patientId, categories: {} });
}

const facts = (choice: InstanceChoice) => {
  const { dataSet, transferSyntaxUid } = instance(choice);
  return factsOf(dataSet, transferSyntaxUid);
};

const w = new Writer();
const element = (tag: number, vr: string, value: string) => w.element(tag, vr, value);
const minimal = (...extra: readonly Buffer[]) => Buffer.concat([element(0x00100020, 'LO', '7'), ...extra]);

describe('the facts of an instance', () => {
  it.each(['explicit', 'implicit', 'bigEndian', 'deflated', 'jpegBaseline'] as const)('are read in %s', (syntax) => {
    expect(facts({ syntax, issuer: 'KKH' })).toMatchObject({
      patients: [{ authority: '', id: '00012345', normalized: '12345' }],
      studyInstanceUid: studyUid(1),
      seriesInstanceUid: seriesUid(1, 1),
      modality: 'CT',
      accessionNumber: 'A0001',
      eventAt: '2026-11-23T10:15:30.25+09:00',
      charset: '\\ISO 2022 IR 87',
      demographics: { birthDate: '1948-02-29', sex: 'F', nameKanji: '架橋 太郎' },
    });
  });

  it('are the same however the bytes are cut', () => {
    const { dataSet, transferSyntaxUid } = instance({ syntax: 'explicit' });
    const whole = factsOf(dataSet, transferSyntaxUid);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 400 }), (step) => {
        expect(factsOf(dataSet, transferSyntaxUid, step)).toEqual(whole);
      }),
    );
  });

  it('keep another issuer of patient ids apart, and its number as it is', () => {
    expect(facts({ issuer: 'CLINIC' }).patients).toEqual([
      { authority: 'CLINIC', id: '00012345', normalized: '00012345' },
    ]);
  });

  it('take no patient from inside a sequence', () => {
    const inner = w.item(element(0x00100020, 'LO', 'INNER'));
    expect(factsOf(w.element(0x00081140, 'SQ', inner))).toMatchObject({ quarantine: 'NO_PATIENT', patients: [] });
  });

  it('are read when the sender wrote another encoding than it negotiated', () => {
    expect(factsOf(instance({ syntax: 'implicit' }).dataSet, transferSyntaxes.explicit).patients).toHaveLength(1);
    expect(factsOf(instance({ syntax: 'explicit' }).dataSet, transferSyntaxes.implicit).patients).toHaveLength(1);
  });

  it.each([
    ['20261123', '', '2026-11-23'],
    ['2026.11.23', '10:15', '2026-11-23T10:15:00+09:00'],
    ['20261123', '235960', '2026-11-23'],
    ['20260230', '101500', undefined],
    ['', '101500', undefined],
  ])('tell the time of the study as far as it is one: %s %s', (studyDate, studyTime, eventAt) => {
    expect(facts({ studyDate, studyTime }).eventAt).toBe(eventAt);
  });

  it('tell the time in the offset the header names', () => {
    const dataSet = Buffer.concat([
      element(0x00080020, 'DA', '20261123'),
      element(0x00080030, 'TM', '101500'),
      element(0x00080201, 'SH', '+0000'),
    ]);
    expect(factsOf(dataSet).eventAt).toBe('2026-11-23T10:15:00+00:00');
  });
});

describe('a patient is not guessed:', () => {
  it.each<[string, Buffer, string]>([
    ['no patient id', element(0x00080060, 'CS', 'CT'), 'NO_PATIENT'],
    ['an empty one', element(0x00100020, 'LO', '  '), 'NO_PATIENT'],
    ['two in one element', element(0x00100020, 'LO', '1\\2'), 'TWO_PATIENTS'],
    ['two elements', Buffer.concat([element(0x00100020, 'LO', '1'), element(0x00100020, 'LO', '2')]), 'TWO_PATIENTS'],
    ['a header cut off behind it', Buffer.concat([minimal(), Buffer.from([0x10, 0, 0x21])]), 'UNREADABLE'],
    ['nonsense behind it', Buffer.concat([minimal(), w.item(Buffer.alloc(0))]), 'UNREADABLE'],
    [
      'a value longer than the data',
      Buffer.concat([minimal(), Buffer.from('10002100 4c4f ffff 4142'.replaceAll(' ', ''), 'hex')]),
      'UNREADABLE',
    ],
    [
      'bytes that are no text',
      w.element(0x00100020, 'LO', Buffer.from([0x1b, 0x24, 0x42, 0x7f, 0x7f, 0x41])),
      'UNDECODABLE',
    ],
    ['nothing at all', Buffer.alloc(0), 'NO_PATIENT'],
  ])('%s', (_, dataSet, quarantine) => {
    expect(factsOf(dataSet)).toMatchObject({ patients: [], quarantine });
  });

  it('when the header is longer than what is read of it', () => {
    const before = w.element(0x00090010, 'OB', Buffer.alloc(17 * 1024 * 1024));
    expect(factsOf(Buffer.concat([before, minimal()]))).toMatchObject({ patients: [], quarantine: 'UNREADABLE' });
  });

  it('when sequences are nested deeper than any are', () => {
    const opening = Buffer.concat([
      Buffer.from('08001511 5351 0000 ffffffff'.replaceAll(' ', ''), 'hex'),
      Buffer.from('feff00e0ffffffff', 'hex'),
    ]);
    const nested = Buffer.concat([...Array.from({ length: 1000 }, () => opening), minimal()]);
    expect(factsOf(nested)).toMatchObject({ patients: [], quarantine: 'UNREADABLE' });
  });

  it('when a deflated data set is damaged, or swells beyond bounds', () => {
    expect(factsOf(Buffer.from('not deflated at all, not in the least'), transferSyntaxes.deflated).patients).toEqual(
      [],
    );
    const bomb = deflateRawSync(
      Buffer.concat([w.element(0x00090010, 'OB', Buffer.alloc(64 * 1024 * 1024)), minimal()]),
    );
    expect(factsOf(bomb, transferSyntaxes.deflated)).toMatchObject({ patients: [], quarantine: 'UNREADABLE' });
  });

  it('but is read although the pixels behind are damaged, or a later element is nonsense', () => {
    const { dataSet } = instance({});
    expect(factsOf(dataSet.subarray(0, dataSet.length - 100)).patients).toHaveLength(1);
    expect(
      factsOf(Buffer.concat([minimal(element(0x00200010, 'SH', '1')), Buffer.from([1, 2, 3])])).patients,
    ).toHaveLength(1);
  });
});

it('reads any bytes without a fault', () => {
  const syntaxes = fc.constantFrom(...Object.values(transferSyntaxes));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), syntaxes, fc.integer({ min: 1, max: 40 }), (bytes, syntax, step) => {
      expect(factsOf(Buffer.from(bytes), syntax, step).category).toBe('image');
    }),
  );
});

it('reads a real header with any byte changed, and never names a patient and a quarantine', () => {
  const { dataSet } = instance({});
  const head = dataSet.subarray(0, 800);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: head.length - 1 }), fc.integer({ min: 0, max: 255 }), (at, value) => {
      const damaged = Buffer.from(head);
      damaged[at] = value;
      const { patients, quarantine } = factsOf(damaged);
      expect(patients.length > 0).toBe(quarantine === undefined);
    }),
  );
});
