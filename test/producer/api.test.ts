/** docs/producer-api.openapi.yaml, the prose beside it, and the intake's own tables say the same. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ConnectorError } from '../../agent/model/errors.ts';
import { refusalOf, refusalTable } from '../../producer/intake/refusals.ts';
import { isRouteName, possibleAnswers, routes } from '../../producer/intake/routes.ts';
import { documented, openApi } from './rig.ts';

const names = Object.keys(routes).filter(isRouteName);
const methods = ['get', 'post', 'options', 'head', 'patch', 'delete', 'put'];

describe('docs/producer-api.openapi.yaml', () => {
  it('is OpenAPI 3.1', () => {
    expect(openApi.openapi).toBe('3.1.0');
  });

  it('has the operations the intake implements, and no other', () => {
    const implemented = names.map((name) => `${routes[name].method.toLowerCase()} ${routes[name].path}`);
    const described = Object.entries(openApi.paths).flatMap(([path, item]) =>
      Object.keys(item)
        .filter((method) => methods.includes(method))
        .map((method) => `${method} ${path}`),
    );
    expect(described.toSorted()).toEqual(implemented.toSorted());
  });

  it.each(names)('gives %s the statuses and codes of the table', (name) => {
    const { method, path } = routes[name];
    const operation = documented(method, path);
    const { statuses, codes } = possibleAnswers(name);
    expect(operation?.operationId).toBe(name);
    expect(Object.keys(operation?.responses ?? {}).map(Number)).toEqual(statuses);
    expect(operation?.['x-refusals']).toEqual(codes);
  });

  it('names under each status the codes that have it', () => {
    const response = z.looseObject({ description: z.string() });
    for (const name of names) {
      const { method, path } = routes[name];
      const responses = documented(method, path)?.responses ?? {};
      for (const code of possibleAnswers(name).codes) {
        const { description } = response.parse(responses[refusalTable[code].status]);
        expect(description, `${method} ${path}`).toContain(`\`${code}\``);
      }
    }
  });

  it('knows every code there is', () => {
    expect(openApi.components.schemas.RefusalCode?.enum).toEqual(Object.keys(refusalTable).toSorted());
  });
});

describe('a refusal', () => {
  it.each(Object.keys(refusalTable))('carries %s through the code as one kind of error', (code) => {
    const error = new ConnectorError('INTAKE_REFUSED', { answer: code });
    expect(refusalOf(error)).toBe(code);
    expect(refusalOf(new ConnectorError('INTAKE_FAILED', { reason: code }))).toBeUndefined();
  });
});

describe('docs/producer-api.md', () => {
  const prose = readFileSync(join(import.meta.dirname, '../../docs/producer-api.md'), 'utf8');

  it.each(Object.entries(refusalTable))('explains %s beside its status', (code, { status }) => {
    expect(prose).toMatch(new RegExp(`\\| ${status} +\\| \`${code}\``));
  });

  it.each(names)('names the request of %s', (name) => {
    const { method, path } = routes[name];
    expect(prose).toContain(`${method} ${path.slice(1)}`);
  });
});
