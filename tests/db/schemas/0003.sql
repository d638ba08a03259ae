CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	hostname TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	process_created_at DOUBLE NOT NULL, 
	started_at DATETIME NOT NULL, 
	heartbeat_at DATETIME NOT NULL, 
	progress_at DATETIME, 
	state TEXT NOT NULL, 
	reason TEXT, 
	requested TEXT, 
	options JSON NOT NULL, 
	counts JSON NOT NULL, 
	error TEXT, 
	log_path TEXT, 
	supervisor JSON, 
	activity JSON, machine_id TEXT, 
	CONSTRAINT pk_runs PRIMARY KEY (id)
);
CREATE TABLE videos (
	id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	title TEXT NOT NULL, 
	duration DOUBLE, 
	fps DOUBLE, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	codec TEXT NOT NULL, 
	rotation INTEGER NOT NULL, 
	recorded_at DATETIME, 
	start_timecode TEXT, 
	camera TEXT, 
	recording TEXT, 
	chapter INTEGER, 
	warnings JSON NOT NULL, 
	frame_count INTEGER, 
	decode_failures INTEGER NOT NULL, 
	extraction_status TEXT NOT NULL, 
	enrichment_status TEXT NOT NULL, 
	error TEXT, 
	context TEXT NOT NULL, 
	sampling TEXT NOT NULL, 
	added_at DATETIME NOT NULL, image_folder TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_videos PRIMARY KEY (id), 
	CONSTRAINT uq_videos_fingerprint UNIQUE (fingerprint)
);
CREATE TABLE tallies (
	video_id INTEGER NOT NULL, 
	kept INTEGER NOT NULL, 
	described INTEGER NOT NULL, 
	covered INTEGER NOT NULL, 
	planned INTEGER NOT NULL, 
	done INTEGER NOT NULL, 
	CONSTRAINT pk_tallies PRIMARY KEY (video_id), 
	CONSTRAINT fk_tallies_video_id_videos FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE
);
CREATE TABLE frames (
	id INTEGER NOT NULL, 
	video_id INTEGER NOT NULL, 
	"index" INTEGER, 
	timestamp DOUBLE NOT NULL, 
	stands_for INTEGER, 
	scene INTEGER, 
	image_path TEXT NOT NULL, 
	dhash TEXT, 
	sharpness DOUBLE, 
	brightness DOUBLE, 
	motion DOUBLE, 
	is_keyframe BOOLEAN NOT NULL, 
	quick_description TEXT, 
	quick_tags JSON, 
	event_type TEXT, 
	excitement DOUBLE, 
	local_description TEXT, 
	local_tags JSON, 
	enriched_at DATETIME, 
	edited_description TEXT, 
	edited_tags JSON, 
	edited_at DATETIME, 
	reviewed_at DATETIME, 
	CONSTRAINT pk_frames PRIMARY KEY (id), 
	CONSTRAINT fk_frames_video_id_videos FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE, 
	CONSTRAINT uq_frames_video_id_timestamp UNIQUE (video_id, timestamp)
);
CREATE TABLE analyses (
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	run_id INTEGER, 
	frame_id INTEGER, 
	segment_id BIGINT, 
	pass TEXT NOT NULL, 
	describer TEXT NOT NULL, 
	model TEXT NOT NULL, 
	model_digest TEXT NOT NULL, 
	host TEXT NOT NULL, 
	prompt_version TEXT NOT NULL, 
	latency_seconds DOUBLE NOT NULL, 
	load_seconds DOUBLE NOT NULL, 
	prompt_tokens INTEGER, 
	output_tokens INTEGER, 
	cost_usd DOUBLE NOT NULL, 
	raw_reply TEXT, 
	warnings JSON NOT NULL, 
	is_kept BOOLEAN NOT NULL, 
	CONSTRAINT pk_analyses PRIMARY KEY (id), 
	CONSTRAINT fk_analyses_frame_id_frames FOREIGN KEY(frame_id) REFERENCES frames (id) ON DELETE SET NULL, 
	CONSTRAINT fk_analyses_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE SET NULL
);
CREATE TABLE expenses (
	id INTEGER NOT NULL, 
	video_id INTEGER, 
	pass TEXT NOT NULL, 
	describer TEXT NOT NULL, 
	model TEXT NOT NULL, 
	calls INTEGER NOT NULL, 
	kept INTEGER NOT NULL, 
	busy_seconds DOUBLE NOT NULL, 
	slack_seconds DOUBLE NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	cost_usd DOUBLE NOT NULL, 
	last_at DATETIME NOT NULL, 
	CONSTRAINT pk_expenses PRIMARY KEY (id), 
	CONSTRAINT fk_expenses_video_id_videos FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE SET NULL, 
	CONSTRAINT uq_expenses_video_id_pass_describer_model UNIQUE (video_id, pass, describer, model)
);
CREATE TABLE search_documents (
	frame_id INTEGER NOT NULL, 
	source INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	model_source INTEGER, 
	model_text TEXT, 
	model_tags TEXT, 
	quick_text TEXT, 
	quick_tags TEXT, 
	CONSTRAINT pk_search_documents PRIMARY KEY (frame_id), 
	CONSTRAINT fk_search_documents_frame_id_frames FOREIGN KEY(frame_id) REFERENCES frames (id) ON DELETE CASCADE
);
CREATE TABLE tasks (
	id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	pass TEXT NOT NULL, 
	video_id INTEGER NOT NULL, 
	frame_id INTEGER, 
	segment_id BIGINT, 
	payload JSON, 
	priority INTEGER NOT NULL, 
	status TEXT NOT NULL, 
	run_id INTEGER, 
	host TEXT, 
	lease_token TEXT, 
	lease_until DATETIME, 
	attempts INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	not_before DATETIME, 
	error TEXT, 
	CONSTRAINT pk_tasks PRIMARY KEY (id), 
	CONSTRAINT fk_tasks_frame_id_frames FOREIGN KEY(frame_id) REFERENCES frames (id) ON DELETE CASCADE, 
	CONSTRAINT fk_tasks_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE SET NULL, 
	CONSTRAINT fk_tasks_video_id_videos FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE, 
	CONSTRAINT uq_tasks_frame_id_kind_pass UNIQUE (frame_id, kind, pass)
);
CREATE VIRTUAL TABLE search_index USING fts5(
        text, tags, content='search_documents', content_rowid='frame_id',
        tokenize='porter unicode61 remove_diacritics 2'
    );
CREATE TABLE checkpoints (
	video_id INTEGER NOT NULL, 
	wanted JSON NOT NULL, 
	"index" INTEGER, 
	state BLOB, 
	CONSTRAINT pk_checkpoints PRIMARY KEY (video_id), 
	CONSTRAINT fk_checkpoints_video_id_videos FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE
);
CREATE TABLE epochs (
	video_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	first_index INTEGER NOT NULL, 
	first_at DOUBLE NOT NULL, 
	clock_at DOUBLE NOT NULL, 
	is_steady BOOLEAN NOT NULL, 
	CONSTRAINT pk_epochs PRIMARY KEY (video_id, number), 
	CONSTRAINT fk_epochs_video_id_videos FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE
);
CREATE TABLE locations (
	id INTEGER NOT NULL, 
	video_id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT pk_locations PRIMARY KEY (id), 
	CONSTRAINT fk_locations_video_id_videos FOREIGN KEY(video_id) REFERENCES videos (id) ON DELETE CASCADE, 
	CONSTRAINT uq_locations_path UNIQUE (path)
);
CREATE TABLE reservations (
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	request TEXT NOT NULL, 
	label TEXT NOT NULL, 
	frame_id INTEGER, 
	task_id INTEGER, 
	is_batch BOOLEAN NOT NULL, 
	batch_id TEXT, 
	describer TEXT NOT NULL, 
	model TEXT NOT NULL, 
	prompt_version TEXT NOT NULL, 
	usd DOUBLE NOT NULL, 
	sender TEXT NOT NULL, 
	CONSTRAINT pk_reservations PRIMARY KEY (id), 
	CONSTRAINT fk_reservations_frame_id_frames FOREIGN KEY(frame_id) REFERENCES frames (id) ON DELETE SET NULL, 
	CONSTRAINT fk_reservations_task_id_tasks FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE SET NULL, 
	CONSTRAINT uq_reservations_frame_id_describer_model_prompt_version UNIQUE (frame_id, describer, model, prompt_version)
);
INSERT INTO "alembic_version" VALUES ('0003');
INSERT INTO "runs" VALUES (1, 'here', 10, 1.5, '2026-05-01 11:59:00.000000', '2026-05-01 12:00:00.000000', NULL, 'crashed', NULL, NULL, '{"model": "llava:13b"}', '{"calls": 4}', 'ended by SIGKILL', 'worker.log', '{"pid": 9, "created_at": 1.0}', NULL, NULL);
INSERT INTO "runs" VALUES (2, 'here', 20, 1.5, '2026-05-01 11:59:00.000000', '2026-05-01 11:59:00.000000', '2026-05-01 12:01:31.000000', 'running', NULL, 'pause', '{"model": "llava:13b"}', '{}', NULL, 'worker.log', '{"pid": 19, "created_at": 1.0}', '{"hosts": []}', '6f1d');
INSERT INTO "videos" VALUES (1, '/films/wedding.mp4', 'print of wedding', 'wedding', 10.0, 30.0, 1920, 1080, 'h264', 0, '2026-05-01 12:00:00.000000', NULL, NULL, NULL, NULL, '[]', 21, 0, 'extracted', 'enriching', NULL, '', 'distinct', '2026-05-01 12:00:00.000000', '');
INSERT INTO "videos" VALUES (2, '/films/birthday.mp4', 'print of birthday', 'birthday', NULL, 30.0, 1920, 1080, 'h264', 0, '2026-05-01 12:00:00.000000', NULL, NULL, NULL, NULL, '[]', 300, 0, 'skimmed', 'pending', NULL, 'Ben is 3', 'every=1s', '2026-05-01 12:00:00.000000', '');
INSERT INTO "videos" VALUES (3, '/films/broken.mp4', 'print of broken', 'broken', 10.0, 30.0, 1920, 1080, 'h264', 0, '2026-05-01 12:00:00.000000', NULL, NULL, NULL, NULL, '["log footage"]', 300, 0, 'failed', 'failed', 'no video stream', '', 'distinct', '2026-05-01 12:00:00.000000', '');
INSERT INTO "tallies" VALUES (1, 7, 3, 9, 7, 3);
INSERT INTO "tallies" VALUES (2, 0, 0, 0, 1, 0);
INSERT INTO "tallies" VALUES (3, 0, 0, 0, 0, 0);
INSERT INTO "frames" VALUES (1, 1, 0, 0.0, 3, 0, '0.jpg', '0000000000000000', 10.0, 100.0, 1.0, 0, NULL, NULL, NULL, NULL, 'Grandma cuts the cake', '["cake", "grandma"]', '2026-05-01 12:00:00.000000', NULL, NULL, NULL, '2026-05-01 12:01:31.000000');
INSERT INTO "frames" VALUES (2, 1, 3, 0.1, 3, 0, '1.jpg', '0000000000000001', 10.0, 100.0, 1.0, 0, NULL, NULL, NULL, NULL, 'Anna laughs', '["joy"]', '2026-05-01 12:00:00.000000', 'Erna laughs', '["erna"]', '2026-05-01 12:01:31.000000', NULL);
INSERT INTO "frames" VALUES (3, 1, 6, 0.2, 3, 0, '2.jpg', '0000000000000002', 10.0, 100.0, 1.0, 1, 'A child flies a kite', '["kite"]', 'other', 4.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO "frames" VALUES (4, 1, 9, 0.3, 3, 0, '3.jpg', '0000000000000003', 10.0, 100.0, 1.0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'the first dance', '["dance"]', '2026-05-01 12:00:00.000000', NULL);
INSERT INTO "frames" VALUES (5, 1, 12, 0.4, 3, 0, '4.jpg', '0000000000000004', 10.0, 100.0, 1.0, 1, 'A couple turns under lanterns', '["lanterns"]', 'first dance', 8.0, 'Two people on a lawn', '["lawn"]', '2026-05-01 12:00:00.000000', NULL, NULL, NULL, NULL);
INSERT INTO "frames" VALUES (6, 1, 15, 0.5, 3, 0, '5.jpg', '0000000000000005', 10.0, 100.0, 1.0, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO "frames" VALUES (7, 1, 18, 0.6, 3, 0, '6.jpg', '0000000000000006', 10.0, 100.0, 1.0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO "analyses" VALUES (1, '2026-05-01 12:00:00.000000', NULL, 1, NULL, 'deep', 'ollama', 'llava:13b', 'abc', 'http://localhost:11434', '1', 2.0, 0.0, 600, 80, 0.0, '?', '[]', 0);
INSERT INTO "analyses" VALUES (2, '2026-05-01 12:00:00.000000', NULL, 1, NULL, 'deep', 'ollama', 'llava:13b', 'abc', 'http://localhost:11434', '1', 3.5, 0.0, 600, 80, 0.0, '{}', '[{"problem": "repeats", "detail": "la la la"}]', 1);
INSERT INTO "analyses" VALUES (3, '2026-05-01 12:00:00.000000', 1, 2, NULL, 'deep', 'ollama', 'llava:13b', 'abc', 'http://localhost:11434', '1', 2.0, 0.0, 600, 80, 0.0, '{}', '[]', 1);
INSERT INTO "analyses" VALUES (4, '2026-05-01 12:00:00.000000', NULL, 5, NULL, 'quick', 'claude', 'claude-haiku-5-5', 'abc', 'https://api.anthropic.com', '1', 2.0, 0.0, 1300, 150, 0.002, '{}', '[]', 1);
INSERT INTO "analyses" VALUES (5, '2026-05-01 12:00:00.000000', NULL, 3, NULL, 'quick', 'claude', 'claude-haiku-5-5', 'abc', 'https://api.anthropic.com', '1', 2.0, 0.0, 1300, 150, 0.002, '{}', '[]', 1);
INSERT INTO "analyses" VALUES (6, '2026-05-01 12:00:00.000000', NULL, 5, NULL, 'deep', 'ollama', 'llava:13b', 'abc', 'http://localhost:11434', '1', 2.0, 0.0, 600, 80, 0.0, '{}', '[]', 1);
INSERT INTO "analyses" VALUES (7, '2026-05-01 12:01:31.000000', NULL, 1, NULL, 'audit', 'ollama', 'llava:13b', 'abc', 'http://localhost:11434', '1', 2.0, 0.0, 600, 80, 0.0, '{}', '[]', 0);
INSERT INTO "analyses" VALUES (8, '2026-05-01 12:00:00.000000', NULL, NULL, NULL, 'quick', 'claude', 'claude-haiku-5-5', 'abc', 'https://api.anthropic.com', '1', 2.0, 0.0, 1300, 150, 0.002, NULL, '[]', 1);
INSERT INTO "expenses" VALUES (1, 1, 'deep', 'ollama', 'llava:13b', 4, 3, 2.0, 0.0, 2400, 320, 0.0, '2026-05-01 12:00:00.000000');
INSERT INTO "expenses" VALUES (2, 1, 'quick', 'claude', 'claude-haiku-5-5', 2, 2, 2.0, 0.0, 2600, 300, 0.004, '2026-05-01 12:00:00.000000');
INSERT INTO "expenses" VALUES (3, 1, 'audit', 'ollama', 'llava:13b', 1, 0, 2.0, 0.0, 600, 80, 0.0, '2026-05-01 12:01:31.000000');
INSERT INTO "expenses" VALUES (4, NULL, 'quick', 'claude', 'claude-haiku-5-5', 1, 1, 0.0, 0.0, 1300, 150, 0.002, '2026-05-01 12:00:00.000000');
INSERT INTO "search_documents" VALUES (1, 1, 'Grandma cuts the cake', 'cake grandma', NULL, NULL, NULL, NULL, NULL);
INSERT INTO "search_documents" VALUES (2, 0, 'Erna laughs', 'erna', 1, 'a woman laughs', 'joy', NULL, NULL);
INSERT INTO "search_documents" VALUES (3, 2, 'A child flies a kite', 'kite', NULL, NULL, NULL, 'A child flies a kite', 'kite');
INSERT INTO "search_documents" VALUES (4, 0, 'the first dance', 'dance', NULL, NULL, NULL, NULL, NULL);
INSERT INTO "search_documents" VALUES (5, 1, 'Two people on a lawn
A couple turns', 'lawn lanterns first dance', NULL, NULL, NULL, 'A couple turns', 'lanterns first dance');
INSERT INTO "tasks" VALUES (1, 'extract', '', 1, NULL, NULL, NULL, 0, 'done', NULL, 'here', NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (2, 'describe', 'quick', 1, 1, NULL, NULL, 0, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (3, 'describe', 'deep', 1, 1, NULL, NULL, 0, 'done', NULL, 'here', NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (4, 'describe', 'quick', 1, 2, NULL, NULL, 0, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (5, 'describe', 'deep', 1, 2, NULL, NULL, 0, 'done', NULL, 'here', NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (6, 'describe', 'quick', 1, 3, NULL, NULL, 0, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (7, 'describe', 'deep', 1, 3, NULL, NULL, 0, 'failed', NULL, 'here', NULL, NULL, 3, 0, NULL, 'the model''s reply was empty');
INSERT INTO "tasks" VALUES (8, 'describe', 'quick', 1, 4, NULL, NULL, 0, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (9, 'describe', 'deep', 1, 4, NULL, NULL, 0, 'doing', 2, 'here', 'e877d5d496384b20ac12382141f4bb6e', '2026-05-01 12:01:30.000000', 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (10, 'describe', 'quick', 1, 5, NULL, NULL, 0, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (11, 'describe', 'deep', 1, 5, NULL, NULL, 0, 'done', NULL, 'here', NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (12, 'describe', 'quick', 1, 6, NULL, NULL, 0, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (13, 'describe', 'deep', 1, 6, NULL, NULL, 0, 'todo', NULL, 'here', NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (14, 'describe', 'quick', 1, 7, NULL, NULL, 0, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (15, 'describe', 'deep', 1, 7, NULL, NULL, 0, 'todo', NULL, 'here', NULL, NULL, 0, 0, '2026-05-01 12:01:31.000000', 'the drive is unplugged');
INSERT INTO "tasks" VALUES (16, 'extract', '', 2, NULL, NULL, '{"wish": [2.0, null]}', 1000, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (17, 'skim', '', 2, NULL, NULL, '{"pictures": 6, "taken": 6}', 0, 'done', NULL, 'here', NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (18, 'extract', '', 3, NULL, NULL, NULL, 0, 'failed', NULL, 'here', NULL, NULL, 1, 0, NULL, 'no video stream');
INSERT INTO "tasks" VALUES (19, 'batch', 'quick', 1, NULL, NULL, '{"model": "claude-haiku-5-5", "prompt_version": "q1", "context": "", "language": "English", "usd": 0.002, "created_at": "2026-05-01T12:00:00+00:00", "sender": {"hostname": "here", "pid": 20, "created_at": 1.5}, "parts": {"part-1": {"F6": 1300}}, "batch_id": "batch_1", "is_sending": true, "saved": [], "problems": {}}', 0, 'todo', NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO "tasks" VALUES (20, 'describe', 'deep', 2, NULL, NULL, NULL, 0, 'todo', NULL, NULL, NULL, NULL, 1, 2, NULL, NULL);
INSERT INTO "checkpoints" VALUES (1, '[]', NULL, NULL);
INSERT INTO "checkpoints" VALUES (2, '[0.5, 2.0]', 40, X'007374617465');
INSERT INTO "epochs" VALUES (1, 0, 0, 0.0, 1.4, 1);
INSERT INTO "epochs" VALUES (1, 1, 5, 0.2, 1.4, 0);
INSERT INTO "locations" VALUES (1, 1, '/films/wedding.mp4', '2026-05-01 12:00:00.000000');
INSERT INTO "locations" VALUES (2, 2, '/films/birthday.mp4', '2026-05-01 12:00:00.000000');
INSERT INTO "locations" VALUES (3, 3, '/films/broken.mp4', '2026-05-01 12:00:00.000000');
INSERT INTO "reservations" VALUES (1, '2026-05-01 12:00:00.000000', 'part-1', 'F6', 6, 19, 1, 'batch_1', 'claude', 'claude-haiku-5-5', 'q1', 0.006, 'here 20 1.5 -');
INSERT INTO search_index(search_index) VALUES ('rebuild');
CREATE INDEX ix_runs_state ON runs (state);
CREATE INDEX ix_frames_video_id_index ON frames (video_id, "index");
CREATE INDEX ix_frames_enriched_at ON frames (enriched_at) WHERE enriched_at IS NOT NULL;
CREATE INDEX ix_frames_waiting ON frames (video_id, timestamp, local_description) WHERE local_description IS NULL;
CREATE INDEX ix_frames_corrected ON frames (video_id, timestamp, edited_at) WHERE edited_at IS NOT NULL;
CREATE INDEX ix_frames_reviewed ON frames (video_id, timestamp, reviewed_at) WHERE reviewed_at IS NOT NULL;
CREATE INDEX ix_frames_excitement ON frames (video_id, timestamp, excitement) WHERE excitement IS NOT NULL;
CREATE INDEX ix_analyses_frame_id ON analyses (frame_id);
CREATE INDEX ix_analyses_model_id ON analyses (describer, model, id);
CREATE INDEX ix_analyses_pace ON analyses (created_at, run_id, pass, is_kept) WHERE is_kept = 1;
CREATE INDEX ix_analyses_doubtful ON analyses (frame_id) WHERE is_kept = 1 AND CAST(warnings AS TEXT) != '[]';
CREATE INDEX ix_analyses_paid ON analyses (created_at, cost_usd) WHERE cost_usd > 0;
CREATE INDEX ix_expenses_pass_last_at ON expenses (pass, last_at);
CREATE INDEX ix_tasks_claim ON tasks (status, kind, pass, priority DESC, id);
CREATE INDEX ix_tasks_lease ON tasks (status, lease_until);
CREATE INDEX ix_tasks_video ON tasks (video_id, status, kind, pass);
CREATE INDEX ix_locations_video_id ON locations (video_id);
CREATE INDEX ix_reservations_request ON reservations (request);
CREATE INDEX ix_reservations_task_id ON reservations (task_id);
CREATE TRIGGER search_documents_inserted AFTER INSERT ON search_documents BEGIN
        INSERT INTO search_index(rowid, text, tags) VALUES (new.frame_id, new.text, new.tags);
    END;
CREATE TRIGGER search_documents_deleted AFTER DELETE ON search_documents BEGIN
        INSERT INTO search_index(search_index, rowid, text, tags)
        VALUES ('delete', old.frame_id, old.text, old.tags);
    END;
CREATE TRIGGER search_documents_updated AFTER UPDATE ON search_documents BEGIN
        INSERT INTO search_index(search_index, rowid, text, tags)
        VALUES ('delete', old.frame_id, old.text, old.tags);
        INSERT INTO search_index(rowid, text, tags) VALUES (new.frame_id, new.text, new.tags);
    END;
CREATE TRIGGER videos_tallied AFTER INSERT ON videos BEGIN
        INSERT INTO tallies(video_id, kept, described, covered, planned, done) VALUES (new.id, 0, 0, 0, 0, 0)
        ON CONFLICT DO NOTHING;
    END;
CREATE TRIGGER frames_tallied AFTER INSERT ON frames BEGIN
        UPDATE tallies SET
            kept = kept + 1,
            described = described + (new.local_description IS NOT NULL),
            covered = covered + coalesce((new.local_description IS NOT NULL) * new.stands_for, 0)
        WHERE video_id = new.video_id;
    END;
CREATE TRIGGER frames_untallied AFTER DELETE ON frames BEGIN
        UPDATE tallies SET
            kept = kept - 1,
            described = described - (old.local_description IS NOT NULL),
            covered = covered - coalesce((old.local_description IS NOT NULL) * old.stands_for, 0)
        WHERE video_id = old.video_id;
    END;
CREATE TRIGGER frames_retallied AFTER UPDATE OF video_id, stands_for, local_description ON frames BEGIN
        UPDATE tallies SET
            kept = kept - 1,
            described = described - (old.local_description IS NOT NULL),
            covered = covered - coalesce((old.local_description IS NOT NULL) * old.stands_for, 0)
        WHERE video_id = old.video_id;
        UPDATE tallies SET
            kept = kept + 1,
            described = described + (new.local_description IS NOT NULL),
            covered = covered + coalesce((new.local_description IS NOT NULL) * new.stands_for, 0)
        WHERE video_id = new.video_id;
    END;
CREATE TRIGGER tasks_tallied AFTER INSERT ON tasks WHEN new.kind = 'describe' AND new."pass" = 'deep' BEGIN
        UPDATE tallies SET planned = planned + 1, done = done + (new.status = 'done')
        WHERE video_id = new.video_id;
    END;
CREATE TRIGGER tasks_untallied AFTER DELETE ON tasks WHEN old.kind = 'describe' AND old."pass" = 'deep' BEGIN
        UPDATE tallies SET planned = planned - 1, done = done - (old.status = 'done')
        WHERE video_id = old.video_id;
    END;
CREATE TRIGGER tasks_retallied AFTER UPDATE OF video_id, status ON tasks
    WHEN new.kind = 'describe' AND new."pass" = 'deep' AND (old.status = 'done' OR new.status = 'done' OR old.video_id != new.video_id) BEGIN
        UPDATE tallies SET planned = planned - 1, done = done - (old.status = 'done')
        WHERE video_id = old.video_id;
        UPDATE tallies SET planned = planned + 1, done = done + (new.status = 'done')
        WHERE video_id = new.video_id;
    END;
CREATE TRIGGER analyses_booked AFTER INSERT ON analyses BEGIN
        INSERT INTO expenses(video_id, "pass", describer, model, calls, kept, busy_seconds, slack_seconds,
            prompt_tokens, output_tokens, cost_usd, last_at)
        SELECT (SELECT video_id FROM frames WHERE id = new.frame_id), new."pass", new.describer, new.model, 1,
            new.is_kept, min(new.latency_seconds, room), max(0.0, room - new.latency_seconds),
            coalesce(new.prompt_tokens, 0), coalesce(new.output_tokens, 0), new.cost_usd, new.created_at
        FROM (SELECT coalesce((
            SELECT CASE
                WHEN new.created_at > last_at THEN (julianday(new.created_at) - julianday(last_at)) * 86400.0
                WHEN new.created_at = last_at THEN slack_seconds ELSE 0.0 END
            FROM expenses WHERE "pass" = new."pass" ORDER BY last_at DESC, slack_seconds LIMIT 1
        ), new.latency_seconds) AS room) WHERE true
        ON CONFLICT (video_id, "pass", describer, model) DO UPDATE SET
            calls = calls + 1,
            kept = kept + excluded.kept,
            busy_seconds = busy_seconds + excluded.busy_seconds,
            slack_seconds = excluded.slack_seconds,
            prompt_tokens = prompt_tokens + excluded.prompt_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cost_usd = cost_usd + excluded.cost_usd,
            last_at = max(last_at, excluded.last_at);
    END;
