import { describe, expect, it } from 'vitest';
import { sourceCommonShape } from '../../../agent/source/define.ts';
import { fhir } from '../../../agent/source/fhir/index.ts';

const schema = fhir.options.safeExtend(sourceCommonShape);
const problems = (options: Record<string, unknown>) =>
  schema
    .safeParse({ name: 'ehr-fhir', ...options })
    .error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];

const smart = (tokenUrl: string) => ({ kind: 'smart', tokenUrl, clientId: 'x', key: { file: 'key.pem' } });

describe('the configuration of a FHIR source', () => {
  it.each([
    ['https', { url: 'https://ehr.example/fhir' }],
    ['this machine in clear', { url: 'http://127.0.0.1:8080/fhir' }],
    ['another machine in clear, on purpose', { url: 'http://ehr.example/fhir', allowPlain: true }],
    ['a token server on this machine', { url: 'https://ehr.example/fhir', auth: smart('http://localhost:1/token') }],
  ])('may be %s', (_, options) => {
    expect(problems(options)).toEqual([]);
  });

  it.each([
    [{ url: 'http://ehr.example/fhir' }, 'url: expected an https URL (or allowPlain'],
    [{ url: 'https://user:word@ehr.example/' }, 'url: expected a URL without user and password'],
    [{ url: 'https://ehr.example/fhir?_format=json' }, 'url: expected a URL without ? and #'],
    [{ url: 'https://ehr.example/', tls: { cert: 'a.pem' } }, 'tls.key: expected cert and key, or neither'],
    [{ url: 'https://ehr.example/', auth: smart('http://ehr.example/token') }, 'auth.tokenUrl: expected an https URL'],
    [{ url: 'https://ehr.example/', types: ['observation'] }, 'types.0: expected a resource type'],
    [{ url: 'https://ehr.example/', since: '2026-02-30' }, 'since: expected a day that exists'],
    [{ url: 'https://ehr.example/', auth: { kind: 'basic', username: 'a', password: 'b' } }, 'auth.password: '],
  ])('is refused as %j', (options, problem) => {
    expect(problems(options)).toEqual([expect.stringContaining(problem)]);
  });
});
