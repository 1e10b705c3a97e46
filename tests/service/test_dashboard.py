import re


def test_the_dashboards_page_and_what_it_loads_are_served(client):
    page = client.get("/dashboard/studies/1")
    assert page.status_code == 200
    scripts = re.findall(r'src="([^"]+)"', page.text)
    assert scripts == ["/static/bundle.js"]
    assert client.get(scripts[0]).status_code == 200
    assert client.get("/favicon.ico").status_code == 200


def test_a_client_that_takes_no_encoding_is_served_too(client):
    answer = client.get("/static/bundle.js", headers={"accept-encoding": "identity"})
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers


def test_its_api_tells_the_study_its_parameters_and_curves(client):
    (summary,) = client.get("/api/studies").json()["study_summaries"]
    assert summary["study_name"] == "demo"
    study = client.get(f"/api/studies/{summary['study_id']}").json()
    states = [trial["state"] for trial in study["trials"]]
    assert (states.count("Complete"), states.count("Fail")) == (14, 2)
    complete = next(trial for trial in study["trials"] if trial["state"] == "Complete")
    assert {p["name"] for p in complete["params"]} == {"objective.temperature", "optimizer.name"}
    assert len(complete["intermediate_values"]) >= 2
    assert study["has_intermediate_values"]


def test_its_root_is_ours(client):
    assert "<h1>Studies</h1>" in client.get("/").text
