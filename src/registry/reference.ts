/**
 * Image names: `[HOST/]REPOSITORY[:TAG][@DIGEST]`, by the grammar and the normalisation that Docker, containerd and the
 * kubelet share (distribution/reference).
 *
 * The first part is a host when it is `localhost`, holds a dot or a colon, or has an upper-case letter; else the name is
 * Docker Hub's, and one without a slash belongs to `library/`. Without tag and digest the tag is `latest`.
 */
import { tryParseDigest } from '../base/digest.ts';
import { CairnError } from '../base/errors.ts';
import type { Reference } from './index.ts';

export const DOCKER_HUB = 'docker.io';
const DOCKER_HUB_LEGACY = 'index.docker.io';
const REPOSITORY_LENGTH_MAX = 255;
/** Host, repository, tag and the longest digest, with room: refused before any pattern sees it. */
const TEXT_LENGTH_MAX = 1024;

const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?';
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[A-Fa-f0-9:]+\\])(?::[0-9]+)?$`);
const PATH_PART = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const IMAGE_ID = /^[a-f0-9]{64}$/;

/** The reference in `unsafeText`, normalised. InvalidArgument with what is wrong. */
export function parseReference(unsafeText: string): Reference {
  if (unsafeText === '') throw refuse(unsafeText, 'it is empty');
  if (unsafeText.length > TEXT_LENGTH_MAX) throw refuse(unsafeText, `it is longer than ${TEXT_LENGTH_MAX} characters`);
  if (/\s/.test(unsafeText)) throw refuse(unsafeText, 'it holds white space');
  if (/^[a-z]+:\/\//i.test(unsafeText)) throw refuse(unsafeText, 'leave the scheme (everything up to ://) out');
  if (IMAGE_ID.test(unsafeText)) throw refuse(unsafeText, 'it is an image ID (64 hex digits), not a name');

  const at = unsafeText.indexOf('@');
  const beforeDigest = at < 0 ? unsafeText : unsafeText.slice(0, at);
  const digest = at < 0 ? undefined : tryParseDigest(unsafeText.slice(at + 1));
  if (at >= 0 && !digest) throw refuse(unsafeText, 'what follows "@" is not a sha256 or sha512 digest');

  const { host, rest } = splitHost(beforeDigest);
  const colon = rest.indexOf(':');
  const path = colon < 0 ? rest : rest.slice(0, colon);
  const tag = colon < 0 ? undefined : rest.slice(colon + 1);
  if (!HOST.test(host)) throw refuse(unsafeText, `${JSON.stringify(host)} is not a registry host`);
  if (path !== path.toLowerCase()) throw refuse(unsafeText, `the repository must be lower case: ${path.toLowerCase()}`);
  const repository = host === DOCKER_HUB && !path.includes('/') ? `library/${path}` : path;
  if (repository.length > REPOSITORY_LENGTH_MAX) {
    throw refuse(unsafeText, `the repository is longer than ${REPOSITORY_LENGTH_MAX} characters`);
  }
  if (!repository.split('/').every((part) => PATH_PART.test(part))) {
    throw refuse(
      unsafeText,
      `the repository ${JSON.stringify(path)} may hold a-z and 0-9, joined by one of . _ __ - or /`,
    );
  }
  if (tag !== undefined && !TAG.test(tag)) {
    throw refuse(
      unsafeText,
      `the tag ${JSON.stringify(tag)} may hold up to 128 of A-Z a-z 0-9 _ . - and begins with none of . -`,
    );
  }
  return {
    host,
    repository,
    tag: tag ?? (digest ? undefined : 'latest'),
    digest,
    name: `${host}/${repository}`,
  };
}

/** The whole name: what `parseReference` reads back as the same reference. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.name}${tag}${digest}`;
}

function splitHost(text: string): { readonly host: string; readonly rest: string } {
  const slash = text.indexOf('/');
  const first = text.slice(0, slash);
  const rest = text.slice(slash + 1);
  if (slash < 0) return { host: DOCKER_HUB, rest: text };
  if (first === DOCKER_HUB || first === DOCKER_HUB_LEGACY) return { host: DOCKER_HUB, rest };
  const isHost = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase();
  return isHost ? { host: first, rest } : { host: DOCKER_HUB, rest: text };
}

function refuse(unsafeText: string, why: string): CairnError {
  const shown = unsafeText.length > 200 ? `${unsafeText.slice(0, 200)}…` : unsafeText;
  return new CairnError('InvalidArgument', `invalid image name ${JSON.stringify(shown)}: ${why}`, {
    step: 'registry.parseReference',
  });
}
